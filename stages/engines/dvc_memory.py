"""Remember what was found last: the code version of each recorded stage, and the state in which nothing was stale.

Where nothing has changed since DVC said that all is up to date, its answer stands, and DVC need not even be imported.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from evergreen.core.files import read_text, write_text
from evergreen.core.paths import Paths
from evergreen.stages.code_version import describe_change
from evergreen.stages.engines.dvc_code import list_files, read_optional, version_file

UP_TO_DATE = "up to date"


def remember(paths: Paths, key: str, value: str) -> None:
    """Keep a stage's code version as it was recorded, or, as UP_TO_DATE, the state in which nothing was stale."""
    write_text(_file(paths), json.dumps(recall(paths) | {key: value}, indent=1))


def recall(paths: Paths) -> dict[str, str]:
    """Return all that was remembered of a pipeline."""
    return {key: value for key, value in read_optional(_file(paths)).items() if isinstance(value, str)}


def explain(paths: Paths, stage: str, md5: str, *, same_parts: bool) -> str:
    """Say which part's version moved since the stage was recorded with a code version of this hash."""
    old = recall(paths).get(stage, "")
    new = read_text(version_file(paths, stage))
    known = hashlib.md5(old.encode(), usedforsecurity=False).hexdigest() == md5
    return describe_change(old, new, same_parts=same_parts) if known else "versions of its code changed"


def state_hash(paths: Paths, graph: str, lock: str) -> str:
    """Hash all on which DVC's answer rests: the graph, the records, the YAML, and the bytes of every file they name."""
    records = re.findall(rf"^  (?!versions@)\w+@{re.escape(paths.name)}:\n(?:(?:   .*)?\n)*", lock, re.MULTILINE)
    named = sorted(set(re.findall(r"^    - path: (.+)$", "".join(records), re.MULTILINE)))
    known, files = read_optional(_stats_file(paths)), {}
    for file, *stat in (one for path in named for one in list_files(paths.root / path)):
        before: Any = known.get(file)
        before = before if isinstance(before, list) else []
        files[file] = before if before[:-1] == stat else [*stat, _hash(Path(file))]
    if files != known:
        write_text(_stats_file(paths), json.dumps(files))
    bytes_of = [(file, *value[-1:]) for file, value in files.items()]
    state = repr((graph, records, read_text(paths.pipeline), named, bytes_of))
    return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()


def _hash(path: Path) -> str:
    """Hash a file's bytes; takes about a second a gigabyte."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def _stats_file(paths: Paths) -> Path:
    return paths.home / "versions" / f"{paths.name}.stats.json"


def _file(paths: Paths) -> Path:
    return paths.home / "versions" / f"{paths.name}.json"
