"""Suggest a new pipeline from a sample of the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest
from evergreen.data import kinds
from evergreen.data.arrow import decode_array, to_float64, to_strings
from evergreen.data.prepare.cast import is_missing
from evergreen.data.prepare.infer import detect_kind, infer_schema
from evergreen.data.prepare.split import NO_SPLIT, split_by_column
from evergreen.data.prepare.windows import is_evenly_spaced
from evergreen.data.sources import RESERVED

SPLIT = re.compile(r"(data_?)?(split|set|subset|part|partition|usage)")
HALF = 0.5  # of the rows: as many different words may be texts, as many missing values are worth a doubt
TOLD = 0.005  # of the rows: as many missing values are told


def suggest_pipeline(table: pa.Table, target: str, time: str = "") -> dict[str, Any]:
    """Suggest a pipeline: {"task", "because", "kinds": {column: kind}, "time", "notes"}, and more of `preprocess`.

    "holds" describes the columns, "unsure" lists doubts.
    """
    whole = table.filter(pc.is_null(table.column("_fault"))) if "_fault" in table.column_names else table
    table = whole if len(whole) else table
    guess = _guess(table, target, time)
    told = {name: describe_column(decode_array(table.column(name)), kind) for name, kind in guess["kinds"].items()}
    doubts = [f"'{name}' is taken as {guess['kinds'][name]}: {doubt}" for name, (_, doubt) in told.items() if doubt]
    holds = {name: words for name, (words, _) in told.items()}
    return {**guess, "holds": holds, "unsure": [*guess.get("unsure", []), *doubts]}


def describe_column(column: pa.Array, kind: str) -> tuple[str, str]:
    """Return (what a column of this kind holds, what speaks against the kind), in words."""
    lacks = float(is_missing(column).mean()) if len(column) else 0.0
    holds, doubt = kinds.find(kind).describe_values(column)
    if lacks > HALF:
        doubt = doubt or f"{lacks:.0%} of it is missing; leave it out (`drop_columns`) if it tells nothing"
    return "; ".join(filter(None, [holds, f"{lacks:.0%} missing" if lacks >= TOLD else ""])), doubt


def _guess(table: pa.Table, target: str, time: str) -> dict[str, Any]:
    """Return the suggestion with the notes of `infer_schema`.

    Text, booleans and few integers are classes; other numbers are regression; a number over evenly spaced times is
    a forecast when `time` is given, or when only the time stands beside the target; images are masks by name.

    Raises DataError where the target is missing or nothing can be predicted.
    """
    from evergreen.data.prepare.windows import find_series_column

    names = [name for name in table.column_names if name not in RESERVED]
    for place, name in (("--target", target), ("--time", time or target)):
        if name not in names:
            raise DataError(f"there is no column '{name}'", place=place, fix=suggest(name, names))
    column = decode_array(table.column(target))
    number = kinds.find("number").detect(column) > 0
    others = [name for name in names if name != target]
    if number and (time or (len(others) == 1 and is_evenly_spaced(decode_array(table.column(others[0]))))):
        time = time or others[0]
        return {
            "task": "forecasting",
            "kinds": {},
            "time": time,
            "series": find_series_column(table, time, [name for name in others if name != time]),
            "because": f"'{target}' holds numbers over evenly spaced times",
            "notes": [f"rows are ordered by '{time}'; set validate_from and test_from to pin the split"],
        }
    plainer = max(kinds.find(kind).detect(column) for kind in ("number", "category"))
    if kinds.find("text").detect(column) > plainer:
        return _written(table, target, others)
    if kinds.find("image").detect(column) > plainer:
        return _drawn(table, target)
    words = to_strings(column).drop_null()
    distinct = pc.count_distinct(words).as_py()
    values = to_float64(column)[0] if number else np.empty(0)
    held = values[~np.isnan(values)]
    whole = bool((held == np.trunc(held)).all())
    classes = not number or (whole and distinct <= min(20, max(2, len(words) // 5)))
    given = [name for name in others if _says_split(name, table)][:1]
    schema = infer_schema(table, target, "category" if classes else "number", ignore=given)
    holds, _ = describe_column(column, "category" if classes else "number")
    guess: dict[str, Any] = {"task": "classification" if classes else "regression", "kinds": schema.inputs, "time": ""}
    guess |= {"because": f"'{target}' holds {holds}", "notes": schema.notes}
    if classes and number and distinct > 2:
        guess["unsure"] = [
            f"'{target}' holds {distinct} whole numbers, taken as classes; for amounts: `task: regression`"
        ]
    if not given:
        return guess
    note = f"'{given[0]}' says which rows train, validate and test; leave `split_column` out to have them chosen"
    return {**guess, "notes": [*guess["notes"], note], "preprocess": {"split_column": given[0]}}


def _says_split(name: str, table: pa.Table) -> bool:
    column = decode_array(table.column(name))
    return bool(
        SPLIT.fullmatch(name.lower())
        and pa.types.is_string(column.type)
        and (split_by_column(column) != NO_SPLIT).all()
    )


def _drawn(table: pa.Table, target: str) -> dict[str, Any]:
    """Return the suggestion for a target of images: masks if it is named so, else restored images."""
    task, kind = ("segmentation", "mask") if "mask" in target.lower() else ("reconstruction", "image")
    schema = infer_schema(table, target, kind)
    because = f"'{target}' holds pictures" + (" and is called a mask" if kind == "mask" else "")
    return {"task": task, "kinds": schema.inputs, "time": "", "because": because, "notes": schema.notes}


def _written(table: pa.Table, target: str, others: Sequence[str]) -> dict[str, Any]:
    """Return the suggestion for a text target: from other texts, or without them as a language model."""
    found = {name: detect_kind(name, decode_array(table.column(name))) for name in others}
    if "text" in found.values():
        inputs = {name: kind for name, kind in found.items() if kind == "text"}
        because = f"'{target}' holds texts, and so does '{next(iter(inputs))}'"
        return {"task": "translation", "kinds": inputs, "time": "", "because": because, "notes": []}
    said: dict[str, Any] = {"kinds": {target: {"kind": "text", "unit": "character"}}}
    ordered = [name for name in others if is_evenly_spaced(decode_array(table.column(name)))]
    notes = [f"'{ordered[0]}' orders the text: its end is held out"] if ordered else []
    said |= {"time": ordered[0]} if ordered else {}
    guess = {"task": "language_modelling", "kinds": {target: "text"}, "time": "", "preprocess": said, "notes": notes}
    return guess | {"because": f"'{target}' holds texts, and no other column does"}
