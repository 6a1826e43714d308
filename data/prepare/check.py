"""Separate the rows that can be learned from, in their kinds' types, from the invalid ones."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from evergreen.data import kinds
from evergreen.data.arrow import RowErrors, combine_chunks, decode_array, to_numpy, to_strings
from evergreen.data.prepare.infer import Schema
from evergreen.data.prepare.invalid_rows import RULE, quarantine
from evergreen.data.prepare.rules.constraints import Rules


def separate_invalid_rows(
    table: pa.Table,
    schema: Schema,
    *,
    required: Sequence[str] = (),
    rules: Rules | None = None,
    known_errors: Sequence[tuple[str, RowErrors]] = (),
) -> tuple[pa.Table, pa.Table]:
    """Return (valid rows in their kinds' types with `_origin`, invalid rows as QUARANTINE).

    A row is invalid when it could not be read, a value does not suit its column's kind, the target or a `required`
    column is missing, it violates a rule, or `known_errors` has one for it. Columns outside the schema stay only if
    required.
    """
    faults: list[tuple[str, RowErrors]] = list(known_errors)
    typed: dict[str, pa.Array] = {}
    for name, kind in schema.kinds.items():
        reader = kinds.find(kind)
        typed[name], errors = reader.with_options(schema.options.get(name, {})).validate_encoded(
            combine_chunks(table.column(name))
        )
        faults.append((name, errors))
        if not reader.ALLOWS_MISSING:
            faults.append((name, _missing(typed[name])))
    for name in dict.fromkeys([schema.target, *required]):
        typed.setdefault(name, decode_array(table.column(name)))
        faults.append((name, _missing(typed[name])))
    checked = {name: (kind, decode_array(typed[name])) for name, kind in schema.inputs.items()}
    target_errors = kinds.find(schema.target_kind).check_against_inputs(decode_array(typed[schema.target]), checked)
    faults += [(schema.target, found) for found in target_errors]
    faults += rules.violations(table) if rules else []
    reasons = _reasons(table, faults)
    typed["_origin"] = decode_array(table.column("_origin"))
    good = pa.table(typed)
    if reasons:
        kept = np.ones(len(table), bool)
        kept[list(reasons)] = False
        good = good.filter(pa.array(kept))
    return good, quarantine(table, reasons)


def _missing(column: pa.Array) -> RowErrors:
    if pa.types.is_dictionary(column.type):
        blank = to_strings(decode_array(column.dictionary)).is_null().take(column.indices).fill_null(True)
    elif pa.types.is_string(column.type) or pa.types.is_floating(column.type):
        blank = to_strings(column).is_null()
    else:
        blank = column.is_null()
    return dict.fromkeys(np.flatnonzero(to_numpy(blank)).tolist(), "missing")


def _reasons(table: pa.Table, faults: list[tuple[str, RowErrors]]) -> RowErrors:
    """Return row → why it is invalid: what its source could not read, else what is wrong with which columns."""
    reasons_of: dict[int, dict[str, None]] = {}
    for name, rows in faults:
        for row, reason in rows.items():
            row_reasons = reasons_of.setdefault(row, {})
            if name == RULE or not any(text.startswith(f"{name}: ") for text in row_reasons):
                row_reasons[f"{name}: {reason}"] = None
    reasons = {row: "; ".join(told) for row, told in reasons_of.items()}
    if "_fault" in table.column_names:
        unread = decode_array(table.column("_fault"))
        told_of = np.flatnonzero(to_numpy(unread.is_valid())).tolist()
        reasons |= {row: fault for row in told_of if (fault := unread[row].as_py())}
    return reasons
