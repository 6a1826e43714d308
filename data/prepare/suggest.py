"""Suggest a new pipeline from a sample of the data."""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest
from evergreen.data import kinds
from evergreen.data.arrow import decode_array
from evergreen.data.prepare.cast import is_missing
from evergreen.data.prepare.infer import detect_kind, infer_schema
from evergreen.data.prepare.split import NO_SPLIT, split_by_column
from evergreen.data.prepare.windows import is_evenly_spaced
from evergreen.data.sources import RESERVED

SPLIT = re.compile(r"(data_?)?(split|set|subset|part|partition|usage)")
HALF = 0.5  # of the rows: more missing values are worth a doubt
MIN_MENTIONED = 0.005  # of the rows: fewer missing values are not mentioned


def suggest_pipeline(table: pa.Table, target: str, time: str = "") -> dict[str, Any]:
    """Suggest a pipeline: {"task", "because", "kinds": {column: kind}, "time", "notes"}, and more of `preprocess`.

    "holds" describes the columns, "unsure" lists doubts.
    """
    readable = table.filter(pc.is_null(table.column("_fault"))) if "_fault" in table.column_names else table
    table = readable if len(readable) else table
    guess = _guess(table, target, time)
    columns = {name: describe_column(decode_array(table.column(name)), kind) for name, kind in guess["kinds"].items()}
    doubts = [f"'{name}' is taken as {guess['kinds'][name]}: {doubt}" for name, (_, doubt) in columns.items() if doubt]
    holds = {name: description for name, (description, _) in columns.items()}
    return {**guess, "holds": holds, "unsure": [*guess.get("unsure", []), *doubts]}


def describe_column(column: pa.Array, kind: str) -> tuple[str, str]:
    """Return (what a column of this kind holds, what speaks against the kind), in words."""
    lacks = float(is_missing(column).mean()) if len(column) else 0.0
    holds, doubt = kinds.find(kind).describe_values(column)
    if lacks > HALF:
        doubt = doubt or f"{lacks:.0%} of it is missing; leave it out (`drop_columns`) if it says nothing"
    return "; ".join(filter(None, [holds, f"{lacks:.0%} missing" if lacks >= MIN_MENTIONED else ""])), doubt


def _guess(table: pa.Table, target: str, time: str) -> dict[str, Any]:
    """Return the suggestion with the notes of `infer_schema`.

    The kind that suits the target best names the task. Numbers over evenly spaced times are a forecast when `time` is
    given, or when the target has no other column beside it than the time.

    Raises DataError where the target is missing or nothing can be predicted.
    """
    from evergreen.data.prepare.windows import find_series_column

    names = [name for name in table.column_names if name not in RESERVED]
    for place, name in (("--target", target), ("--time", time or target)):
        if name not in names:
            raise DataError(f"there is no column '{name}'", place=place, fix=suggest(name, names))
    column = decode_array(table.column(target))
    others = [name for name in names if name != target]
    every = {name: kinds.find(name) for name in kinds.names()}
    forecast = next((kind.TASK_OVER_TIME for kind in every.values() if kind.TASK_OVER_TIME and kind.detect(column)), "")
    if forecast and (time or (len(others) == 1 and is_evenly_spaced(decode_array(table.column(others[0]))))):
        time = time or others[0]
        return {
            "task": forecast,
            "kinds": {},
            "time": time,
            "series_column": find_series_column(table, time, [name for name in others if name != time]),
            "because": f"'{target}' holds numbers over evenly spaced times",
            "notes": [f"rows are ordered by '{time}'; set validate_from and test_from to pin the split"],
        }
    guesses = {name: kind.guess_target(target, column) for name, kind in every.items()}
    target_kind = max(guesses, key=lambda name: guesses[name][0])
    kind, doubt = every[target_kind], guesses[target_kind][1]
    if kind.TASK_FROM_OWN_KIND:
        return _suggest_from_own_kind(table, target, target_kind, others)
    split_columns = [name for name in others if _says_split(name, table)][:1]
    schema = infer_schema(table, target, target_kind, ignore=split_columns)
    holds, _ = describe_column(column, target_kind)
    guess: dict[str, Any] = {"task": kind.TASK, "kinds": schema.inputs, "time": "", "notes": schema.notes}
    guess |= {"because": f"'{target}' holds {holds or target_kind + 's'}"}
    guess |= {"unsure": [f"'{target}' {doubt}"]} if doubt else {}
    if not split_columns:
        return guess
    note = f"'{split_columns[0]}' says which rows train, validate and test; without `split_column` they are drawn"
    return {**guess, "notes": [*guess["notes"], note], "preprocess": {"split_column": split_columns[0]}}


def _says_split(name: str, table: pa.Table) -> bool:
    column = decode_array(table.column(name))
    if not SPLIT.fullmatch(name.lower()) or not pa.types.is_string(column.type):
        return False
    return bool((split_by_column(column) != NO_SPLIT).all())


def _suggest_from_own_kind(table: pa.Table, target: str, kind: str, others: Sequence[str]) -> dict[str, Any]:
    """Return the suggestion for a target that is made of inputs of its own kind, or of itself where there are none."""
    part = kinds.find(kind)
    detected = {name: detect_kind(name, decode_array(table.column(name))) for name in others}
    inputs = {name: kind for name, other in detected.items() if other == kind}
    if inputs:
        because = f"'{target}' holds {kind}s, and so does '{next(iter(inputs))}'"
        return {"task": part.TASK_FROM_OWN_KIND, "kinds": inputs, "time": "", "because": because, "notes": []}
    config: dict[str, Any] = {"kinds": {target: {"kind": kind, **part.OWN_INPUT_OPTIONS}}}
    ordered = [name for name in others if is_evenly_spaced(decode_array(table.column(name)))]
    notes = [f"'{ordered[0]}' orders the {kind}s: their end is held out"] if ordered else []
    config |= {"time": ordered[0]} if ordered else {}
    guess = {"task": part.TASK, "kinds": {target: kind}, "time": "", "preprocess": config, "notes": notes}
    return guess | {"because": f"'{target}' holds {kind}s, and no other column does"}
