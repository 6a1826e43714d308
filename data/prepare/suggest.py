"""Suggest a new pipeline from a sample of the data."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest
from evergreen.core.messages import list_names, merge_similar
from evergreen.data import kinds
from evergreen.data.arrow import decode_array
from evergreen.data.prepare.cast import is_missing
from evergreen.data.prepare.infer import IDENTIFIER, Schema, detect_kind, infer_schema
from evergreen.data.prepare.split import NO_SPLIT, split_by_column
from evergreen.data.prepare.suggest_time import ask_about_times, suggest_forecast, suggest_time_split
from evergreen.data.prepare.timeline import Timeline, find_timeline
from evergreen.data.prepare.times import is_evenly_spaced
from evergreen.data.quality.late_columns import find_late_columns
from evergreen.data.sources import RESERVED

SPLIT = re.compile(r"(data_?)?(split|set|subset|part|partition|usage)")
HALF = 0.5  # of the rows: more missing values are worth a doubt
MAX_CODES = 6  # different whole numbers over time: more are no classes but counts
MIN_GROUPS = 10  # for a split to have some of each
MIN_MENTIONED = 0.005  # of the rows: fewer missing values are not mentioned


def suggest_pipeline(table: pa.Table, target: str) -> dict[str, Any]:
    """Suggest a pipeline: {"task", "because", "kinds": {column: kind}, "time", "notes"}, and more of `preprocess`.

    "holds" describes the columns, "unsure" lists doubts, those of one kind in one line, and "late" names the columns
    that may be known only afterwards.
    """
    readable = table.filter(pc.is_null(table.column("_fault"))) if "_fault" in table.column_names else table
    unread = table.filter(pc.is_valid(table.column("_fault"))) if len(readable) < len(table) else None
    table = readable if len(readable) else table
    guess = _guess(table, target)
    if unread:
        first = f"{unread.column('_origin')[0]} ({unread.column('_fault')[0]})"
        n_rows = f"{len(unread):,} row{'s' * (len(unread) > 1)}"
        guess["notes"].append(f"{n_rows} cannot be read and will be quarantined; the first: {first}")
    columns = {
        name: describe_column(decode_array(table.column(name)), kind, guess.get("options", {}).get(name))
        for name, kind in guess["kinds"].items()
    }
    doubts = [f"'{name}' is taken as {guess['kinds'][name]}: {doubt}" for name, (_, doubt) in columns.items() if doubt]
    holds = {name: description for name, (description, _) in columns.items()}
    unsure = merge_similar([*guess.get("unsure", []), *doubts])
    return {**guess, "holds": holds, "notes": merge_similar(guess["notes"]), "unsure": unsure}


def describe_column(column: pa.Array, kind: str, options: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """Return (what a column of this kind holds, what speaks against the kind), in words."""
    lacks = float(is_missing(column).mean()) if len(column) else 0.0
    reader = kinds.find(kind)
    reader = reader.with_options(reader.infer_options(column, options)) if options else reader
    holds, doubt = reader.describe_values(column)
    if lacks > HALF:
        doubt = doubt or f"{lacks:.0%} of it is missing; leave it out (`drop_columns`) if it says nothing"
    return "; ".join(filter(None, [holds, f"{lacks:.0%} missing" if lacks >= MIN_MENTIONED else ""])), doubt


def _guess(table: pa.Table, target: str) -> dict[str, Any]:
    """Return the suggestion with the notes of `infer_schema`.

    The kind that suits the target best names the task. Numbers over even steps of time are a forecast where few other
    columns stand beside them; other rows in order of time are split by it.

    Raises DataError where the target is missing or nothing can be predicted.
    """
    names = [name for name in table.column_names if name not in RESERVED]
    if target not in names:
        raise DataError(f"there is no column '{target}'", place="--target", fix=suggest(target, names))
    column, others = decode_array(table.column(target)), [name for name in names if name != target]
    every = {name: kinds.find(name) for name in kinds.names()}
    guesses = {name: kind.guess_target(target, column) for name, kind in every.items()}
    target_kind = max(guesses, key=lambda name: guesses[name][0])
    if every[target_kind].TASK_FROM_OWN_KIND:
        return _suggest_from_own_kind(table, target, target_kind, others)
    line = find_timeline(table, others)
    split_column = next((name for name in others if _says_split(name, table)), "")
    numbers = next((kind for kind in every.values() if kind.TASK_OVER_TIME and kind.detect(column)), None)
    if numbers and line and not split_column:
        is_amount = len(others) == 1 or every[target_kind] is numbers or len(column.unique()) > MAX_CODES
        if is_amount and (forecast := suggest_forecast(table, target, line, numbers, others)):
            return {**forecast, "unsure": [*forecast["unsure"], *numbers.advise_target(target, column)]}
    return _suggest_rows(table, target, target_kind, guesses[target_kind][1], split_column, line)


def _suggest_rows(
    table: pa.Table, target: str, target_kind: str, doubt: str, split_column: str, line: Timeline | None
) -> dict[str, Any]:
    """Return the suggestion for a table of which each row is an example."""
    column, kind = decode_array(table.column(target)), kinds.find(target_kind)
    others = [name for name in table.column_names if name not in (target, *RESERVED)]
    config, notes, time = dict[str, str](), list[str](), ""
    if split_column:
        config = {"split_column": split_column}
        notes = [f"'{split_column}' says which rows train, validate and test; without `split_column` they are drawn"]
    elif line:
        time, notes = suggest_time_split(table, target, line, kind, others)
        config = {"time": time} if time else {}
    doubts = [] if split_column or line else ask_about_times(table, others)
    try:
        schema = infer_schema(table, target, target_kind, ignore=config.values())
    except DataError as error:
        raise DataError(error.problem, place=error.place, fix="; ".join([*doubts, error.fix])) from error
    options, spelt = _suggest_options(table, schema)
    reader = kind.with_options({**schema.options.get(target, {}), **options.get(target, {})})
    holds, _ = describe_column(column, target_kind, options.get(target))
    time_kind = detect_kind(time, decode_array(table.column(time))) if time else None
    inputs = {**schema.inputs, **({time: time_kind} if time_kind else {})}
    if not doubts and not (split_column or time):
        doubts = _ask_about_groups(table, others)
    doubts += [*_ask_about(late := find_late_columns(table, inputs, target, target_kind, time))]
    doubts += [f"'{target}' {doubt}"] if doubt else []
    return {
        **{"task": kind.TASK, "because": f"'{target}' holds {holds or target_kind + 's'}"},
        **{"kinds": schema.inputs, "time": "", "notes": [*notes, *spelt, *schema.notes]},
        "unsure": [*doubts, *reader.advise_target(target, column)],
        **({"options": options} if options else {}),
        **({"late": [*late]} if late else {}),
        **({"preprocess": config} if config else {}),
    }


def _ask_about_groups(table: pa.Table, names: Sequence[str]) -> list[str]:
    """Return doubts about columns that are called like an identifier and come in several rows."""
    columns = {name: decode_array(table.column(name)) for name in names if IDENTIFIER.search(name)}
    counts = {
        name: pc.count_distinct(column).as_py()
        for name, column in columns.items()
        if pa.types.is_string(column.type) or pa.types.is_integer(column.type)
    }
    return [
        f"several rows have one '{name}': `group: {name}` keeps them in one split, if the model is to know new ones"
        for name, count in counts.items()
        if MIN_GROUPS <= count <= len(table) / 2
    ]


def _suggest_options(table: pa.Table, schema: Schema) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return (column → options that decide what its values are, what is decided and what is left open, in words)."""
    options: dict[str, dict[str, Any]] = {}
    words = []
    for name, kind in schema.kinds.items():
        part, column = kinds.find(kind), decode_array(table.column(name))
        said, why = part.suggest_options(name, column)
        options |= {name: {"kind": kind, **said}} if said else {}
        words += [*filter(None, [why]), *part.doubt_values(name, column, said, target=name == schema.target)]
    return options, words


def _ask_about(late: dict[str, str]) -> list[str]:
    """Return the question whether some columns, each with its reason, are known when the model is asked."""
    if not late:
        return []
    reasons = merge_similar(dict.fromkeys(late.values()))
    return [
        f"{list_names([*late])}: known when the model is asked ({'; '.join(reasons)})? if not, leave out: "
        f"`drop_columns: {json.dumps([*late], ensure_ascii=False)}`"
    ]


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
