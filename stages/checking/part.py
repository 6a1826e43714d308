"""Run all checks of one part's file."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from evergreen.core import parts
from evergreen.core.errors import PipelineError, UserError, suggest
from evergreen.data import kinds, sources
from evergreen.data.arrow import combine_chunks
from evergreen.data.sources import open_source
from evergreen.models.registry import find_architecture, find_task, list_architectures, list_tasks
from evergreen.stages.checking import data_checks, network_checks

Checks = dict[str, list[partial[None]]]
MISTAKES = (ArithmeticError, AttributeError, LookupError, NameError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check over so many cases: `problem` is empty where the part passes."""

    check: str
    cases: int
    problem: str


def check_part(file: Path, sample: str = "") -> Iterator[Finding]:
    """Yield what each check of a part's file finds; `sample` is the data to check a source or a kind on.

    Raises PipelineError for a file that lies in no folder of parts, PartError for one that is no part.
    """
    group, root = _locate(file)
    parts.use(root)
    find_checks = {"kinds": _kind_checks, "sources": _source_checks}.get(group, partial(_network_checks, group))
    for name, checks in find_checks(file.stem, root, sample).items():
        if checks:
            yield Finding(name, len(checks), next(filter(None, map(_problem, checks)), ""))


def _problem(check: partial[None]) -> str:
    """Return what a check finds wrong, and with which case; "" where it passes."""
    try:
        check()
    except (AssertionError, *MISTAKES) as error:
        text = str(error) if isinstance(error, AssertionError | UserError) else f"{type(error).__name__}: {error}"
        case = check.args[0]
        return f"{' '.join([*case[:2], *case[2], case[3]])}: {text}" if isinstance(case, tuple) else text
    return ""


def _locate(file: Path) -> tuple[str, Path]:
    """Return the group of a part and the project that it lies in."""
    if not file.is_file():
        raise PipelineError("there is no such file", place=str(file), fix="check the path")
    path = file.resolve()
    for group, folder in parts.FOLDERS.items():
        if path.parent == path.parents[2] / folder:
            return group, path.parents[2]
    fix = f"move it into one of {', '.join(parts.FOLDERS.values())}"
    raise PipelineError("it is not in a folder of parts", place=str(file), fix=fix)


def _network_checks(group: str, name: str, _root: Path, _sample: str) -> Checks:
    torch.set_num_threads(1)
    part: Any = (find_architecture if group == "architectures" else find_task)(name)
    names, jobs = ([name], list_tasks()) if group == "architectures" else (list_architectures(), [name])
    cases = list(network_checks.cases(names, jobs))
    if not cases:
        raise PipelineError(f"nothing fits {part.__name__}", place=name, fix="let it accept more kinds")
    own: Checks = {}
    if group == "architectures":
        own["docstring, SEARCH_SPACE and DEFAULTS"] = [partial(network_checks.check_declarations, name)]
        own["size is a dial"] = [partial(network_checks.check_size, cases[0])]
        own["padding changes nothing"] = [
            partial(network_checks.check_padding, case) for case in cases if network_checks.is_trimmed(case)
        ]
    return own | {
        "builds, answers and is stored": [partial(network_checks.check_pair, case) for case in cases],
        "learns eight rows by heart": [partial(network_checks.check_learns, case) for case in cases],
    }


def _kind_checks(name: str, root: Path, sample: str) -> Checks:
    kind = kinds.find(name)
    column = _column(root, sample) if sample else data_checks.find_column(kind)
    return {
        "detects": [partial(data_checks.check_detection, kind)],
        "encodes and decodes": [partial(data_checks.check_encoding, kind, column)],
        "reads requests": [partial(data_checks.check_requests, kind, column)],
        "tells values apart": [partial(data_checks.check_identity, kind, column)],
    }


def _source_checks(name: str, root: Path, sample: str) -> Checks:
    checks_by_name: Checks = {"has its methods": [partial(data_checks.check_methods, sources.find(name, name))]}
    return checks_by_name | ({"reads": [partial(data_checks.check_reading, sample, root)]} if sample else {})


def _column(root: Path, sample: str) -> Any:
    """Return the column of a table that FILE#COLUMN names."""
    uri, _, name = sample.rpartition("#")
    table = pa.Table.from_batches(list(open_source(uri, root).read()))
    if name not in table.column_names:
        raise PipelineError(f"there is no column {name!r}", place=uri, fix=suggest(name, table.column_names))
    return combine_chunks(table.column(name))
