"""A guess for a new pipeline, from a look at the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data import kinds
from data.columns import floats, plain, texts
from data.field import DataError, nearest
from data.schema import infer, recognise
from data.sources import RESERVED
from data.split import ASIDE, by_word
from data.windows import evenly_spaced

SPLIT = re.compile(r"(data_?)?(split|set|subset|part|partition|usage)")


def propose(table: pa.Table, target: str, time: str = "") -> dict[str, Any]:
    """A guess for a new pipeline: {"task", "kinds": {column: kind}, "time", "notes"}, and what else `preprocess` says.

    Text, booleans and few whole numbers are classes; other numbers are regression; a number over evenly spaced times is
    a forecast when `time` is given or when nothing but the time stands beside the target; images are masks by name.
    Raises DataError where the target is missing or nothing can be predicted.
    """
    from data.windows import which_series

    names = [name for name in table.column_names if name not in RESERVED]
    for place, name in (("--target", target), ("--time", time or target)):
        if name not in names:
            raise DataError(f"there is no column '{name}'", place=place, fix=nearest(name, names))
    column = plain(table.column(target))
    number = kinds.find("number").recognise(column) > 0
    others = [name for name in names if name != target]
    if number and (time or (len(others) == 1 and evenly_spaced(plain(table.column(others[0]))))):
        time = time or others[0]
        return {
            "task": "forecasting",
            "kinds": {},
            "time": time,
            "series": which_series(table, time, [name for name in others if name != time]),
            "notes": [f"rows are ordered by '{time}'; set validate_from and test_from to pin the split"],
        }
    plainer = max(kinds.find(kind).recognise(column) for kind in ("number", "category"))
    if kinds.find("text").recognise(column) > plainer:
        return _written(table, target, others)
    if kinds.find("image").recognise(column) > plainer:
        return _drawn(table, target)
    words = texts(column).drop_null()
    distinct = pc.count_distinct(words).as_py()
    values = floats(column)[0] if number else np.empty(0)
    held = values[~np.isnan(values)]
    whole = bool((held == np.trunc(held)).all())
    classes = not number or (whole and distinct <= min(20, max(2, len(words) // 5)))
    given = [name for name in others if _says_split(name, table)][:1]
    schema = infer(table, target, "category" if classes else "number", ignore=given)
    guess = {"task": "classification" if classes else "regression", "kinds": schema.inputs, "time": ""}
    if not given:
        return {**guess, "notes": schema.notes}
    note = f"'{given[0]}' says which rows train, validate and test; leave `given` out to have them chosen"
    return {**guess, "notes": [*schema.notes, note], "preprocess": {"given": given[0]}}


def _says_split(name: str, table: pa.Table) -> bool:
    column = plain(table.column(name))
    return bool(SPLIT.fullmatch(name.lower()) and pa.types.is_string(column.type) and (by_word(column) != ASIDE).all())


def _drawn(table: pa.Table, target: str) -> dict[str, Any]:
    """The guess for a target of images: masks where its name says so, else what other images were before."""
    task, kind = ("segmentation", "mask") if "mask" in target.lower() else ("reconstruction", "image")
    schema = infer(table, target, kind)
    return {"task": task, "kinds": schema.inputs, "time": "", "notes": schema.notes}


def _written(table: pa.Table, target: str, others: Sequence[str]) -> dict[str, Any]:
    """The guess for a target that is a text: it follows from other texts; where there are none, it is written on."""
    found = {name: recognise(name, plain(table.column(name))) for name in others}
    if "text" in found.values():
        inputs = {name: kind for name, kind in found.items() if kind == "text"}
        return {"task": "translation", "kinds": inputs, "time": "", "notes": []}
    said: dict[str, Any] = {"kinds": {target: {"kind": "text", "unit": "character"}}}
    ordered = [name for name in others if evenly_spaced(plain(table.column(name)))]
    notes = [f"'{ordered[0]}' orders the text: its end is held out"] if ordered else []
    said |= {"time": ordered[0]} if ordered else {}
    return {"task": "language_modelling", "kinds": {target: "text"}, "time": "", "preprocess": said, "notes": notes}
