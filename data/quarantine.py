"""Rows set aside: what they held, why, and where they came from."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from data.columns import Faults, plain
from data.sources import RESERVED

QUARANTINE = pa.schema([("row", pa.string()), ("reason", pa.string()), ("origin", pa.string())])


def quarantine(table: pa.Table, reasons: Faults) -> pa.Table:
    """The named rows of a table as QUARANTINE, in order."""
    rows = sorted(reasons)
    columns = [name for name in table.column_names if name not in RESERVED]
    held = table.take(pa.array(rows, pa.int64()))
    values = [
        json.dumps({name: row[name] for name in columns}, ensure_ascii=False, default=_told)
        for row in _listed(held, columns)
    ]
    origin = plain(held.column("_origin")).to_pylist() if "_origin" in held.column_names else [str(row) for row in rows]
    return pa.table([values, [reasons[row] for row in rows], origin], schema=QUARANTINE)


def _listed(table: pa.Table, columns: list[str]) -> list[dict[str, Any]]:
    plainer = {}
    for name in columns:
        column = plain(table.column(name))
        plainer[name] = column.storage if isinstance(column, pa.ExtensionArray) else column
    return pa.table(plainer).to_pylist() if columns else []


def _told(value: Any) -> str:
    """What JSON has no form for; a file is not written out."""
    return f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)
