"""All that is looked for in prepared rows before they are learned from, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from data.leaks import Leak, alone, gone, later, told_by_absence
from data.ready import sample
from data.twins import Twin, twins
from stages.checking.drift import drift
from stages.settings import PipelineError

if TYPE_CHECKING:
    from data.spec import Spec

TRAIN_ROWS, OTHER_ROWS = 10_000, 2_500  # that are looked at of each split
MATTERS = 0.02  # share of validation or test rows with a twin among the training rows from which on scores flatter
GROUPS = 32  # row groups of a split that are looked into, evenly spread
SHOWN = 5  # pairs of twins named


class Wishes(Protocol):
    """What a pipeline says that matters here; see `stages.preprocess.Params` for each."""

    @property
    def key(self) -> list[str]: ...
    @property
    def leaks(self) -> str: ...


@dataclass(frozen=True)
class Splits:
    """Samples of the three splits, and what their columns are."""

    train: pa.Table
    validation: pa.Table
    test: pa.Table
    inputs: Mapping[str, str]  # column → kind
    spec: Spec
    rows_differ: bool  # whether the splits are made to differ: by time, by groups


def look(ready: Path, spec: Spec, summary: Mapping[str, Any], wishes: Wishes) -> list[dict[str, Any]]:
    """What is found in the rows that were written to `ready`, as JSON, the grave first; nothing where it is off.

    Raises PipelineError where something grave is found and the pipeline says `leaks: stop`.
    """
    from models.base import Task
    from models.catalogue import task

    if wishes.leaks == "off":
        return []
    moved = task(spec.task).learns_from is not Task.learns_from  # rows were chosen to measure by what they are
    differ = summary["by"] != "identity" or bool(wishes.key) or moved
    found = find(read(ready, spec, summary["inputs"], rows_differ=differ))
    if wishes.leaks == "stop":
        stop(found)
    return [asdict(leak) for leak in found]


def read(ready: Path, spec: Spec, inputs: Mapping[str, str], *, rows_differ: bool) -> Splits:
    """The rows that are looked at: those with the smallest identities."""
    wanted = {"train": TRAIN_ROWS, "validation": OTHER_ROWS, "test": OTHER_ROWS}
    return Splits(
        **{name: sample(ready, name, rows, groups=GROUPS).combine_chunks() for name, rows in wanted.items()},
        inputs=inputs,
        spec=spec,
        rows_differ=rows_differ,
    )


def stop(found: Sequence[Leak]) -> None:
    """Raises PipelineError where something grave was found."""
    grave = [leak.text for leak in found if leak.grave]
    if grave:
        fix = "mend it, or say `leaks: report` to go on all the same"
        raise PipelineError(" | ".join(grave), place="preprocess.leaks", fix=fix)


def find(splits: Splits) -> list[Leak]:
    """Everything found, the grave first."""
    spec, train = splits.spec, splits.train
    target, kind = spec.target_name, spec.target.kind
    looks = {name: of for name, of in splits.inputs.items() if name in train.column_names}
    found: list[Leak] = []
    if kind != "series":  # windows of a series overlap by design, and their columns are one series
        found += _twins(splits, looks or {target: kind})
        if kind in ("category", "number"):
            held = pa.concat_tables([splits.validation, splits.test])
            found += alone(train, held, looks, target, kind)
        found += told_by_absence(train, looks, target) if kind == "category" else []
    if "_time" in train.column_names and spec.time:
        found += chain(gone(train, splits.test, looks), later(train, spec.time))
    found += _drift(splits, {**looks, target: kind})
    return sorted(found, key=lambda one: not one.grave)


def _twins(splits: Splits, looks: Mapping[str, str]) -> list[Leak]:
    both = pa.concat_tables([splits.validation, splits.test])
    found, first = twins(both, splits.train, looks) or [], len(splits.validation)
    parts = {
        "validation": [twin for twin in found if twin.row < first],
        "test": [replace(twin, row=twin.row - first) for twin in found if twin.row >= first],
    }
    return [_told(splits, name, part, looks) for name, part in parts.items() if part]


def _told(splits: Splits, name: str, found: Sequence[Twin], looks: Mapping[str, str]) -> Leak:
    table: pa.Table = getattr(splits, name)
    grave = len(found) >= MATTERS * len(table)
    exact = sum(twin.likeness == 1 for twin in found)
    how = "the same" if exact == len(found) else f"{exact:,} the same, {len(found) - exact:,} nearly"
    text = f"{len(found):,} of {len(table):,} {name} rows stand among the training rows as well ({how})"
    text += _looked(splits, name)
    text += (
        ": scores on them are too good; clean the source, or keep such rows together with `group: COLUMN`"
        if grave
        else ": too few to matter"
    )
    return Leak("twins", text, grave, list(looks), _origins(table, splits.train, found))


def _looked(splits: Splits, name: str) -> str:
    held = {"train": splits.train, name: getattr(splits, name)}
    if all(len(table) >= splits.spec.rows[split] for split, table in held.items()):
        return ""
    shown = " and ".join(f"{len(table):,} of {splits.spec.rows[split]:,} {split}" for split, table in held.items())
    return f", looking at {shown} rows"


def _origins(table: pa.Table, train: pa.Table, found: Sequence[Twin]) -> list[list[str]]:
    most = sorted(found, key=lambda twin: (-twin.likeness, twin.row))[:SHOWN]
    return [[str(table["_origin"][twin.row]), str(train["_origin"][twin.like])] for twin in most]


def _drift(splits: Splits, kind_of: Mapping[str, str]) -> list[Leak]:
    told = drift(splits.train, splits.test, kind_of)
    if told is None or not told.found:
        return []
    by = "; ".join(f"'{name}'" + (f" ({how})" if how else "") for name, how in told.columns.items())
    text = f"training and test rows can be told apart ({told.accuracy:.0%} right, by chance 50%), most by {by}"
    text += (
        ": as the splits are made to differ, so they do; the test score says how well the model follows"
        if splits.rows_differ
        else ": the test rows are of another world than those learned from; find out why"
    )
    return [Leak("drift", text, not splits.rows_differ, list(told.columns))]
