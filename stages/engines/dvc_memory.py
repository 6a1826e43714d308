"""Remember what was found last: the code version of each recorded stage, and the state in which nothing was stale.

Where nothing has changed since DVC said that all is up to date, its answer stands, and DVC need not even be imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from evergreen.core.files import write_text
from evergreen.core.paths import Paths
from evergreen.stages.code_version import describe_change
from evergreen.stages.engines.dvc_code import read_optional, version_file

UP_TO_DATE = "up to date"


def remember(paths: Paths, key: str, value: str) -> None:
    """Keep a stage's code version as it was recorded, or, as UP_TO_DATE, the state in which nothing was stale."""
    write_text(_file(paths), json.dumps(recall(paths) | {key: value}, indent=1))


def recall(paths: Paths) -> dict[str, str]:
    """Return all that was remembered of a pipeline."""
    return read_optional(_file(paths))


def explain(paths: Paths, stage: str, md5: str, *, same_parts: bool) -> str:
    """Say which part's version moved since the stage was recorded with a code version of this hash."""
    old = recall(paths).get(stage, "")
    new = version_file(paths, stage).read_text(encoding="utf-8")
    known = hashlib.md5(old.encode(), usedforsecurity=False).hexdigest() == md5
    return describe_change(old, new, same_parts=same_parts) if known else "versions of its code changed"


def state_hash(paths: Paths, graph: str, lock: str) -> str:
    """Hash all on which DVC's answer rests: the graph, the records, the YAML, and the stat of every file they name."""
    records = re.findall(rf"^  \w+@{re.escape(paths.name)}:\n(?:(?:   .*)?\n)*", lock, re.MULTILINE)
    named = sorted(set(re.findall(r"^    - path: (.+)$", "".join(records), re.MULTILINE)))
    stats = [one for path in named for one in _stats(paths.root / path)]
    state = repr((graph, records, paths.pipeline.read_text(encoding="utf-8"), named, stats))
    return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()


def _stats(path: Path) -> Iterator[tuple[str, int, int, int]]:
    """Yield name, size, time and inode of a file, or of each file of a folder: what DVC itself goes by."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return
    yield str(path), 0 if path.is_dir() else stat.st_size, stat.st_mtime_ns, stat.st_ino
    if path.is_dir():
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                yield from _stats(Path(entry.path))


def _file(paths: Paths) -> Path:
    return paths.home / "versions" / f"{paths.name}.json"
