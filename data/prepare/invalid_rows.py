"""Quarantine invalid rows: what they held, why, which value was wrong, and where they came from."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, decode_array
from evergreen.data.sources import RESERVED

QUARANTINE = pa.schema([("row", pa.string()), ("reason", pa.string()), ("value", pa.string()), ("origin", pa.string())])
RULE = "rule"  # what reasons of rules across columns begin with; those of one column begin with its name
SHOWN = 200  # signs of a value
SOME_REASONS = 5
UNREAD = re.compile(r" \(|: ")  # what a source could not read stands behind what is wrong with it


class TooManyInvalidRowsError(DataError):
    """Report that too many of `rows` are invalid; `reasons` counts them, `quarantined` holds some of them."""

    def __init__(
        self, problem: str, place: str, fix: str, quarantined: pa.Table, rows: int, reasons: Mapping[str, int]
    ) -> None:
        super().__init__(problem, place=place, fix=fix)
        self.quarantined, self.rows, self.reasons = quarantined, rows, dict(reasons)


def quarantine(table: pa.Table, reasons: RowErrors) -> pa.Table:
    """Return the named rows of a table as QUARANTINE, in order."""
    rows = sorted(reasons)
    columns = [name for name in table.column_names if name not in RESERVED]
    quarantined = table.take(pa.array(rows, pa.int64()))
    values_of = _listed(quarantined, columns) if columns else [{}] * len(rows)
    origin, faults = [str(row) for row in rows], [None] * len(rows)
    if "_origin" in quarantined.column_names:
        origin = decode_array(quarantined.column("_origin")).to_pylist()
    if "_fault" in quarantined.column_names:
        faults = decode_array(quarantined.column("_fault")).to_pylist()
    named = {reason: _named(reason, columns) for reason in set(reasons.values())}
    why, values = [], []
    for row, row_values, fault in zip(rows, values_of, faults, strict=True):
        if fault:
            problem, sign, text = _split(fault)
            why.append(problem)
            values.append((sign.strip(": ") + text)[:SHOWN])
        else:
            why.append(reasons[row])
            values.append(", ".join(f"{name}={_short(row_values[name])}" for name in named[reasons[row]]))
    texts = [json.dumps(one, ensure_ascii=False, default=_to_text) for one in values_of]
    return pa.table([texts, why, values, origin], schema=QUARANTINE)


def count_reasons(quarantined: pa.Table) -> dict[str, int]:
    """Return reason → rows, the most common first."""
    return dict(Counter(quarantined.column("reason").to_pylist()).most_common())


def examples_by_reason(parts: Iterable[pa.Table], most: int) -> dict[str, list[dict[str, Any]]]:
    """Return reason → the first `most` quarantined rows, from tables as QUARANTINE."""
    examples: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for row, reason in enumerate(part.column("reason").to_pylist()):
            rows = examples.setdefault(reason, [])
            if len(rows) < most:
                rows += part.slice(row, 1).to_pylist()
    return examples


def format_reasons(reasons: Mapping[str, int]) -> str:
    """Format counts by reason as one line, the most common first."""
    common = Counter(reasons).most_common()
    some = "; ".join(f"{reason} ({count:,} row{'s' * (count != 1)})" for reason, count in common[:SOME_REASONS])
    left = sum(count for _, count in common[SOME_REASONS:])
    return some + (f"; {left:,} for other reasons" if left else "")


def check_any_valid(good: int, bad: Mapping[str, int], quarantined: pa.Table) -> None:
    """Raise TooManyInvalidRowsError where no row is valid."""
    if not good:
        why = format_reasons(bad) or "there are fewer rows than `window` and `horizon` need"
        fix = "correct the source, or leave the faulty columns out (`drop_columns`)"
        raise TooManyInvalidRowsError(
            f"no valid row is left: {why}", "preprocess", fix, quarantined, sum(bad.values()), bad
        )


def check_invalid_fraction(rows: int, bad: Mapping[str, int], limit: float, quarantined: pa.Table) -> None:
    """Raise TooManyInvalidRowsError where the fraction of invalid rows is above the limit; `bad` is reason → rows."""
    if (count := sum(bad.values())) > limit * rows:
        share = f"{count:,} of {rows:,} rows are not valid ({count / rows:.1%}); the limit is {100 * limit:.4g}%"
        fix = "correct the source or the rules, or raise max_invalid_fraction"
        problem = f"{share}: {format_reasons(bad)}"
        raise TooManyInvalidRowsError(problem, "preprocess.max_invalid_fraction", fix, quarantined, rows, bad)


def _split(fault: str) -> tuple[str, str, str]:
    match = UNREAD.search(fault)
    return (fault[: match.start()], match.group(), fault[match.end() :]) if match else (fault, "", "")


def _named(reason: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that a reason names."""
    columns_named: dict[str, None] = {}
    for part in reason.split("; "):
        if part.startswith(f"{RULE}: "):
            words = {*re.findall(r"\w+", part), *re.findall(r"""field\(\s*['"](.+?)['"]""", part)}
            columns_named |= dict.fromkeys(name for name in columns if name in words and name != RULE)
        else:
            named = [name for name in columns if part.startswith(f"{name}: ")]
            columns_named |= dict.fromkeys(sorted(named, key=len)[-1:])
    return list(columns_named)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_to_text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _listed(table: pa.Table, columns: list[str]) -> list[dict[str, Any]]:
    plainer = {}
    for name in columns:
        column = decode_array(table.column(name))
        plainer[name] = column.storage if isinstance(column, pa.ExtensionArray) else column
    rows: list[dict[str, Any]] = pa.table(plainer).to_pylist()
    return rows


def _to_text(value: Any) -> str:
    """Return the text of a value that JSON cannot hold; bytes are counted, not written out."""
    return f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)
