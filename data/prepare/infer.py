"""Infer the kind of each column of a raw table."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest
from evergreen.core.messages import list_names, merge_similar
from evergreen.data import kinds
from evergreen.data.arrow import decode_array, number_obstacle, to_names
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.prepare.cast import is_missing
from evergreen.data.sources import RESERVED

IDENTIFIER = re.compile(  # customer_id, user.id, order key, customerId, CustomerID, row …
    r"(^|[_.\s])(id|uuid|guid|index|key)$|(?-i:[a-z]I[dD])$|^row(_?(number|nr|no))?$|^unnamed_\d+$|^#$", re.IGNORECASE
)


Found = TypeVar("Found")


@dataclass(frozen=True)
class Schema:
    """Hold the kind of each input column and of the target, with notes for a person."""

    inputs: dict[str, str]
    target: str
    target_kind: str
    notes: list[str] = field(default_factory=list)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the kinds, by column: said, or found out
    doubts: list[str] = field(default_factory=list)  # what the pipeline leaves open about values

    @property
    def kinds(self) -> dict[str, str]:
        """Return column → kind, with the target."""
        return {**self.inputs, self.target: self.target_kind}


def infer_schema(
    table: pa.Table,
    target: str,
    target_kind: str,
    *,
    given: Mapping[str, Any] | None = None,
    ignore: Iterable[str] = (),
    key: Sequence[str] = (),
    from_itself: bool = False,
) -> Schema:
    """Infer the schema of a raw table: `given` kinds hold, others are detected, columns that suit no kind are left out.

    With `from_itself` the target is an input, too. Raises DataError for a missing column, a target that does not
    suit its kind, or when no input is left.
    """
    options, given, ignore = kind_options(given or {}), kind_names(given or {}), list(ignore)
    columns = check_columns(table, [target, *given, *ignore, *key])
    _check_target(table, target, target_kind, given, options)
    inputs, notes = {}, []
    asked = [name for name in columns if name not in {target, *ignore, *key, *given}]
    recognised = _map_in_threads(lambda name: detect_kind(name, decode_array(table.column(name))), asked)
    for name in columns:
        if name == target or name in ignore or name in key:
            if name == target and from_itself:
                inputs[name] = target_kind
            continue
        column = decode_array(table.column(name))
        kind = given.get(name) or recognised[name]
        if kind:
            kinds.find(kind)
            inputs[name] = kind
            notes += kinds.find(kind).note_detection(name, column) if name not in given else []
        else:
            notes.append(
                f"column '{name}' is left out: {_explain_rejection(column)}; to use it, set `kinds: {{{name}: …}}`"
            )
    if not inputs:
        fix = "; ".join(notes) or "give more columns than the target"
        raise DataError("no input column is left", place="preprocess", fix=fix)
    if constant := find_constant_columns(table, inputs):
        notes.append(f"{list_names(constant)}: the same in every row, so that it says nothing")
    every = {**inputs, target: target_kind}
    doubts = _map_in_threads(lambda name: _doubt(table, name, every[name], options, name == target), every)
    options |= _map_in_threads(lambda name: _complete_options(table, name, every[name], options), every)
    found_out = {name: said for name, said in options.items() if said}
    return Schema(inputs, target, target_kind, notes, found_out, merge_similar(chain.from_iterable(doubts.values())))


def _check_target(
    table: pa.Table, target: str, kind: str, given: Mapping[str, str], options: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise DataError where the target's values, or what is said about them, do not suit its kind."""
    if given.get(target, kind) != kind:
        problem = f"the task predicts a {kind}, but kinds declares '{target}' a {given[target]}"
        raise DataError(problem, place="preprocess.kinds", fix=f"take '{target}' out of kinds, or change the task")
    reader = kinds.find(kind).with_options(_complete_options(table, target, kind, options))
    reader.check_target(decode_array(table.column(target)), f"target column '{target}'")


def find_constant_columns(table: pa.Table, names: Iterable[str]) -> list[str]:
    """Return the columns of plain values of which all rows are alike."""
    columns = {name: decode_array(table.column(name)) for name in names}
    return [name for name, column in columns.items() if _is_constant(column)]


def _is_constant(column: pa.Array) -> bool:
    if not (pa.types.is_primitive(column.type) or pa.types.is_string(column.type) or pa.types.is_null(column.type)):
        return False
    absent = is_missing(column)
    return bool(absent.all() or (not absent.any() and len(column) > 1 and pc.count_distinct(column).as_py() == 1))


def _map_in_threads(work: Callable[[str], Found], names: Iterable[str]) -> dict[str, Found]:
    """Return name → result of `work`, in threads: most of it is Arrow's, which releases the GIL."""
    names = list(names)
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(work, names), strict=True))


def _complete_options(
    table: pa.Table, name: str, kind: str, options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the options of a column, completed by how its values are written."""
    kinds.check_options(kind, options.get(name, {}), name)
    try:
        return kinds.find(kind).infer_options(decode_array(table.column(name)), options.get(name, {}))
    except DataError as error:
        raise DataError(error.problem, place=f"preprocess.kinds.{name}", fix=error.fix) from error


def _doubt(
    table: pa.Table, name: str, kind: str, options: Mapping[str, Mapping[str, Any]], is_target: bool
) -> list[str]:
    column = decode_array(table.column(name))
    return kinds.find(kind).doubt_values(name, column, options.get(name, {}), target=is_target)


def kind_names(given: Mapping[str, Any]) -> dict[str, str]:
    """Return column → kind of the key `kinds`, whose values are a name or {kind: name, option: value, …}."""
    names = {column: said.get("kind", "") if isinstance(said, Mapping) else said for column, said in given.items()}
    for column, name in names.items():
        if name not in kinds.names():
            place = f"preprocess.kinds.{column}"
            raise DataError(f"there is no kind of data called '{name}'", place=place, fix=suggest(name, kinds.names()))
    return names


def kind_options(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return column → options of its kind, of the key `kinds`."""
    declared = {column: one for column, one in given.items() if isinstance(one, Mapping)}
    return {column: {name: value for name, value in one.items() if name != "kind"} for column, one in declared.items()}


def target_kind(table: pa.Table, target: str, wanted: Sequence[str], given: Mapping[str, Any]) -> str:
    """Return which of the kinds a task predicts the target is: the declared one, else the one that fits best."""
    check_columns(table, [target])
    named = kind_names(given).get(target, "")
    if named in wanted:
        return named
    if named or len(wanted) == 1:
        return wanted[0]
    column = decode_array(table.column(target))
    return max(wanted, key=lambda kind: kinds.find(kind).detect(column))  # of equals the first


def check_columns(table: pa.Table, names: Iterable[str]) -> list[str]:
    """Return the table's own columns. Raises DataError where one of `names` is missing, or there are no rows."""
    columns = [name for name in table.column_names if name not in RESERVED]
    for name in names:
        if name not in columns:
            raise DataError(f"there is no column '{name}'", place="preprocess", fix=suggest(name, columns))
    if table.num_rows == 0:
        raise DataError("there are no rows", place="the collected data", fix="check the source: it is empty")
    if "_fault" in table.column_names and not table.column("_fault").null_count:
        first = table.column("_fault")[0].as_py()
        fix = "correct the source"
        raise DataError(f"no row could be read; the first: {first}", place="the collected data", fix=fix)
    return columns


def detect_kind(name: str, column: pa.Array) -> str | None:
    """Return the kind that fits a column best; None for identifiers, durations and empty columns."""
    if is_identifier(name, column):
        return None
    scores = {kind: kinds.find(kind).detect(column) for kind in kinds.names()}
    best = max(scores, key=scores.__getitem__)
    return best if scores[best] > 0 else None


def is_identifier(name: str, column: pa.Array) -> bool:
    """Tell whether a column is named like an identifier and no value comes twice."""
    countable = pa.types.is_string(column.type) or pa.types.is_integer(column.type)
    called = bool(countable and IDENTIFIER.search(name))
    return called and bool(pc.count_distinct(to_names(column)).as_py() == len(column) > 1)


def _explain_rejection(column: pa.Array) -> str:
    if column.null_count == len(column) or (pa.types.is_string(column.type) and not to_names(column).drop_null()):
        return "it is empty"
    if pa.types.is_temporal(column.type):
        return "times of day and durations cannot be inputs"
    if pa.types.is_string(column.type) and (doubt := dates.describe_doubt(column) or number_obstacle(column)):
        return doubt
    if not pa.types.is_string(column.type):
        return f"it is an identifier, or has a type that no kind accepts ({column.type})"
    return "it looks like an identifier or free text, with too many different values to learn from"
