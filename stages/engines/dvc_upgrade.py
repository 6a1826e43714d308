"""Carry the records of an older Evergreen over, so that an upgrade repeats nothing that would give the same bytes.

Until parts had versions, a stage's record in dvc.lock listed the files of its code. Such a record counts as made by
version 1 of everything: its settings, inputs and outputs stay as they are written, and DVC compares them as ever.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evergreen.core.files import read_text
from evergreen.core.paths import Paths
from evergreen.stages.engines.dvc_code import code_versions, version_file
from evergreen.stages.engines.dvc_graph import graph_file, load_yaml, replace_entry
from evergreen.stages.engines.dvc_memory import remember
from evergreen.stages.pipeline import STAGES, Pipeline

CODE = re.compile(r"^    - path: (?!(data|models)/store/)", re.MULTILINE)  # a dependency on a file of code


def has_older_records(lock: str) -> bool:
    """Return whether a dvc.lock, as text, holds records that list files of code."""
    return bool(CODE.search(lock))


def upgrade_records(lock: str, root: Path, pipelines: Sequence[Pipeline]) -> str:
    """Return the text of dvc.lock with the older records of these pipelines rewritten, where their files are all there.

    The architecture that was chosen and the kinds of the columns are read from those files.
    """
    records = load_yaml(lock, "dvc.lock")["stages"]
    place = graph_file(root, "dvc.yaml")
    graph = load_yaml(read_text(root / place), place)["stages"]
    for pipeline in pipelines:
        paths = Paths(root, pipeline.name)
        versions = {
            stage: re.sub(r" \d+$", " 1", text, flags=re.MULTILINE)
            for stage, text in code_versions(pipeline, paths).items()
        }
        for stage in STAGES:
            name = f"{stage}@{pipeline.name}"
            record = records.get(name, {})
            if not all(isinstance(one.get("path"), str) for what in ("deps", "outs") for one in record.get(what, [])):
                continue  # DVC will say that the file is damaged
            deps = [dep for dep in record.get("deps", []) if "/store/" in dep["path"]]
            files = [root / one["path"] for one in (*deps, *record.get("outs", []))]
            if len(deps) == len(record.get("deps", [])) or not all(file.exists() for file in files):
                continue
            command = graph[stage]["do"]["cmd"].replace("${item}", pipeline.name)
            entry = record | {"cmd": command, "deps": [*deps, _code_dep(paths, stage, versions[stage])]}
            lock = replace_entry(lock, name, entry)
            remember(paths, stage, versions[stage])
    return lock


def _code_dep(paths: Paths, stage: str, version: str) -> dict[str, Any]:
    path = version_file(paths, stage).relative_to(paths.root).as_posix()
    md5 = hashlib.md5(version.encode(), usedforsecurity=False).hexdigest()
    return {"path": path, "hash": "md5", "md5": md5}
