"""Say in words how a stage's files, settings and code differ from its record in dvc.lock."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.files import read_text
from evergreen.core.paths import Paths
from evergreen.stages.engines.dvc_code import version_file
from evergreen.stages.engines.dvc_graph import load_yaml
from evergreen.stages.engines.dvc_memory import explain

if TYPE_CHECKING:
    from dvc.dependency.param import ParamsDependency
    from dvc.output import Output
    from dvc.stage import Stage


class Files:
    """Hold the contents of the files that stages share, each read once for all stages that ask."""

    def __init__(self, root: Path) -> None:
        self._hashes: dict[str, Any] = {}
        self._values = cache(lambda path: load_yaml(read_text(root / path), path) or {})

    def reason(self, file: Output, sort: str) -> str:
        """Say how a file differs from its record; nothing where it does not."""
        path = file.def_path
        if path not in self._hashes:
            self._hashes[path] = file.get_hash() if file.exists else None
        if self._hashes[path] is None:
            return f"missing {sort}: {path}"
        return f"{sort} changed: {path}" if self._hashes[path] != file.hash_info else ""

    def params_reason(self, dep: ParamsDependency) -> str:
        """Say which settings differ from those recorded."""
        values = self._values(dep.def_path)
        old = _flatten(dep.hash_info.value or {})
        new = _flatten({key: values[key] for key in dep.params if key in values})
        keys = sorted(key for key in old.keys() | new.keys() if old.get(key, ...) != new.get(key, ...))
        return f"params {', '.join(keys)} changed" if keys else ""


def compare(entry: Stage, paths: Paths, stage: str, files: Files) -> str:
    """Compare a stage with its record in dvc.lock; the most telling reason first."""
    if not any(out.hash_info for out in entry.outs):
        return "never run"
    code = version_file(paths, stage).relative_to(paths.root).as_posix()
    reasons, moved = [files.reason(out, "output") for out in entry.outs], ""
    for dep in entry.deps:
        if hasattr(dep, "params"):
            reasons.append(files.params_reason(dep))
        elif dep.def_path == code:
            moved = (dep.hash_info.value or "unknown") if files.reason(dep, "code") else ""
        else:
            reasons.append(files.reason(dep, "input"))
    reasons += ["command changed"] * entry.changed_stage()
    if moved:  # other parts are used where another task or architecture is: that is said already
        reasons.append(explain(paths, stage, moved, same_parts=any(reasons)))
    return "; ".join(sorted(filter(None, reasons), key=lambda text: not text.startswith(("missing", "params"))))


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
