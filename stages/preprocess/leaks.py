"""Look for duplicates, leakage and drift in prepared rows, and say what was found."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import pyarrow as pa

from evergreen.core.errors import PipelineError
from evergreen.core.messages import merge_similar
from evergreen.data import kinds
from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate
from evergreen.data.quality.duplicates import find_near_duplicates
from evergreen.data.quality.leakage import (
    Leak,
    future_columns,
    target_from_missingness,
    target_predicting_columns,
    vanished_columns,
)
from evergreen.stages.preprocess.drift import detect_drift
from evergreen.stages.preprocess.samples import Samples

MATTERS = (
    0.02  # fraction of validation or test rows with a near-duplicate in training from which on scores are too good
)
SHOWN = 5  # pairs of twins named


def raise_if_severe(leaks: Sequence[Leak]) -> None:
    """Raise PipelineError where something severe was found."""
    grave = merge_similar(leak.text for leak in leaks if leak.severe)
    if grave:
        fix = "correct it, or set `leakage_checks: report` to continue anyway"
        raise PipelineError(" | ".join(grave), place="preprocess.leakage_checks", fix=fix)


def find_issues(samples: Samples, *, differ: bool) -> list[Leak]:
    """Return all issues, severe ones first. `differ`: the splits differ on purpose, by time or by groups."""
    splits = samples.as_compared()
    looks, leaks = splits.inputs, list[Leak]()
    with ThreadPoolExecutor(1) as drift_thread:
        drifted = drift_thread.submit(_drift, splits, {**looks, splits.target: splits.kind}, differ)
        leaks += _known(samples, splits, looks)
    leaks += drifted.result()
    return sorted(leaks, key=lambda one: not one.severe)


def _known(samples: Samples, splits: Samples, looks: Mapping[str, str]) -> list[Leak]:
    """Return the issues of columns that tell the target, and of rows on both sides of a split."""
    train, target, kind, leaks = splits.train, splits.target, splits.kind, list[Leak]()
    if not kinds.find(kind).SPANS_ROWS:  # windows of a series overlap by design
        leaks += _twins(splits, looks or {target: kind})
        held_out = pa.concat_tables([splits.validation, splits.test])
        leaks += target_predicting_columns(train, held_out, looks, target, kind)
        leaks += target_from_missingness(train, looks, target) if kinds.find(kind).HAS_CLASSES else []
    if "_time" in train.column_names and splits.time:
        leaks += chain(vanished_columns(train, splits.test, looks), future_columns(samples.train, splits.time))
    return leaks


def _twins(splits: Samples, looks: Mapping[str, str]) -> list[Leak]:
    both = pa.concat_tables([splits.validation, splits.test])
    matches, first = find_near_duplicates(both, splits.train, looks) or [], len(splits.validation)
    parts = {
        "validation": [twin for twin in matches if twin.row < first],
        "test": [replace(twin, row=twin.row - first) for twin in matches if twin.row >= first],
    }
    return [_duplicates_leak(splits, name, part, looks) for name, part in parts.items() if part]


def _duplicates_leak(splits: Samples, name: str, matches: Sequence[NearDuplicate], looks: Mapping[str, str]) -> Leak:
    table: pa.Table = getattr(splits, name)
    grave = len(matches) >= MATTERS * len(table)
    exact = sum(twin.similarity == 1 for twin in matches)
    how = "the same" if exact == len(matches) else f"{exact:,} the same, {len(matches) - exact:,} nearly"
    text = f"{len(matches):,} of {len(table):,} {name} rows are also among the training rows ({how})"
    origins = _origins(table, splits.train, matches)
    text += f"{_looked(splits, name)}, such as {origins[0][0]} and {origins[0][1]}"
    text += (
        ": scores on them are too good; clean the source, or keep such rows together with `group: COLUMN`"
        if grave
        else ": too few to matter"
    )
    return Leak("twins", text, grave, list(looks), origins)


def _looked(splits: Samples, name: str) -> str:
    sampled = {"train": splits.train, name: getattr(splits, name)}
    if all(len(table) >= splits.rows[split] for split, table in sampled.items()):
        return ""
    shown = " and ".join(f"{len(table):,} of {splits.rows[split]:,} {split}" for split, table in sampled.items())
    return f", looking at {shown} rows"


def _origins(table: pa.Table, train: pa.Table, matches: Sequence[NearDuplicate]) -> list[list[str]]:
    closest = sorted(matches, key=lambda twin: (-twin.similarity, twin.row))[:SHOWN]
    return [[str(table["_origin"][twin.row]), str(train["_origin"][twin.match])] for twin in closest]


def _drift(splits: Samples, kind_of: Mapping[str, str], differ: bool) -> list[Leak]:
    drift = detect_drift(splits.train, splits.test, kind_of)
    if drift is None or not drift.is_significant:
        return []
    by = "; ".join(f"'{name}'" + (f" ({how})" if how else "") for name, how in drift.columns.items())
    text = f"training and test rows can be distinguished ({drift.accuracy:.0%} right, by chance 50%), most by {by}"
    text += (
        ": the splits are made to differ, so they do; the test score says how well the model copes"
        if differ
        else ": the test rows come from another distribution than the training rows; find out why"
    )
    return [Leak("drift", text, not differ, list(drift.columns))]
