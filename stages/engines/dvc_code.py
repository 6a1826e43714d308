"""Write the one file per stage through which DVC sees the code: models/store/NAME/versions/STAGE.

It names the stage's version and those of the parts it uses, as far as they are known yet: the kinds of the columns once
rows are prepared, the architecture once one is chosen. So it is written before DVC is asked and after each stage.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core import parts
from evergreen.core.files import write_text
from evergreen.core.paths import Paths
from evergreen.pages.version import templates_version
from evergreen.stages.code_version import (
    PACKAGE,
    accepting_architectures,
    baseline_architectures,
    code_version,
    column_kinds,
    learned_code_version,
)

if TYPE_CHECKING:
    from evergreen.stages.pipeline import Pipeline

CUT = "plan cut"  # begins the line that says how often a plan was cut off
FileStat = tuple[str, int, int, int]  # name, size, time of its last change, inode
CHOSEN = ("tune", "train", "validate")  # stages that use one architecture


def code_versions(pipeline: Pipeline, paths: Paths) -> dict[str, str]:
    """Return the code version of each stage."""
    task, spec = pipeline.task, _read_spec(paths.ready / "spec.json")
    prepared = {"kind": column_kinds(spec), "task": [task]}
    reader = str(read_optional(paths.raw / "source.json").get("reader", "")).split()[:1]
    return {
        "collect": code_version("collect", {"source": reader}),
        "preprocess": code_version("preprocess", prepared),
        "select": code_version("select", prepared | {"architecture": _candidates(pipeline, spec)})
        + _cuts(paths.select),
        **{stage: learned_code_version(stage, spec, task, _chosen(stage, pipeline, paths)) for stage in CHOSEN[1:]},
        "tune": learned_code_version("tune", spec, task, _chosen("tune", pipeline, paths)) + _cuts(paths.tune),
        "report": code_version("report", {}) + f"templates html {templates_version()}\n",
    }


def write_code_versions(pipeline: Pipeline, paths: Paths, *, after: str = "") -> None:
    """Bring the files up to date; one that is right already is not touched. Nothing is read where nothing changed.

    That of the stage which has just ended, `after`, does not say yet that its plan was cut off: so it is recorded with
    what it was made with, and is stale once the file says it.
    """
    memory = paths.home / "versions" / f"{paths.name}.code.json"
    if read_optional(memory).get("state") == _state_hash(pipeline, paths):
        return
    for stage, text in code_versions(pipeline, paths).items():
        file = version_file(paths, stage)
        if stage == after:
            before = file.read_text(encoding="utf-8", errors="replace").splitlines(True) if file.is_file() else []
            cut = [line for line in before if line.startswith(CUT)]
            text = "".join([*(line for line in text.splitlines(True) if not line.startswith(CUT)), *cut])
        if not file.is_file() or file.read_bytes() != text.encode():
            write_text(file, text)
    write_text(memory, json.dumps({"state": "" if after else _state_hash(pipeline, paths)}))


def _state_hash(pipeline: Pipeline, paths: Paths) -> str:
    """Hash what the files rest on, and what they are: the pipeline, all parts, and the stat of each file."""
    read = [paths.raw / "source.json", paths.ready / "spec.json", paths.select, paths.tune]
    files = [*read, _start_card(pipeline, paths), paths.candidate.parent / "versions"]
    stats = [one for file in files for one in list_files(file)]
    state = repr((pipeline, parts.project_texts(), stats, _package_stats()))
    return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()


@cache
def _package_stats() -> list[FileStat]:
    """List all files that Evergreen is made of; as this process found them."""
    stats = []
    for folder, inner, files in os.walk(PACKAGE, followlinks=True):
        inner[:] = sorted({*inner} - {"store", "__pycache__"})
        stats += [one for file in sorted(files) for one in list_files(Path(folder, file))]
    return stats


def list_files(path: Path) -> Iterator[FileStat]:
    """Yield name, size, time and inode of a file, or of each file of a folder: what DVC itself goes by."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return
    if not path.is_dir():
        yield str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino
        return
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            yield from list_files(Path(entry.path))


def version_file(paths: Paths, stage: str) -> Path:
    """Return the file that a stage depends on for its code."""
    return paths.candidate.parent / "versions" / stage


def _candidates(pipeline: Pipeline, spec: Mapping[str, Any]) -> Iterable[str]:
    """Return the architectures among which select chooses."""
    if named := pipeline.select.architectures:
        return [*named, *baseline_architectures()] if len(named) > 1 else named
    kinds = [field["kind"] for field in spec.get("inputs", {}).values()]
    return accepting_architectures(kinds) if kinds else []


def _cuts(choice: Path) -> str:
    """Return the line that says how often the plan behind a choice was cut off; "" where it never was."""
    cuts = read_optional(choice).get("cuts")
    return f"{CUT} {cuts}\n" if isinstance(cuts, int) and cuts > 0 else ""


def _chosen(stage: str, pipeline: Pipeline, paths: Paths) -> str:
    """Return the architecture that was chosen, or that of the version whose weights train begins with."""
    places = [paths.select] if stage == "tune" else [_start_card(pipeline, paths), paths.tune, paths.select]
    named = (card.get("architecture") for card in map(read_optional, places))
    return next((name for name in named if isinstance(name, str)), "")


def _start_card(pipeline: Pipeline, paths: Paths) -> Path:
    """Return what the version says of itself whose weights train begins with, if with any."""
    name, _, version = pipeline.train.init_from.partition("@")
    return Paths(paths.root, name).released / version / "model.json"


def _read_spec(file: Path) -> dict[str, Any]:
    """Return a spec's JSON; {} where there is none, or something else lies there."""
    spec = read_optional(file)
    try:
        kinds = column_kinds(spec)
    except (AttributeError, LookupError, TypeError):
        return {}
    return spec if all(isinstance(kind, str) for kind in kinds) else {}


def read_optional(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} where there is none, or something else lies there."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
