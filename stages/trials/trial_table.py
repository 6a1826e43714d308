"""List the trials of a pipeline's ledger as rows, for people and as Parquet."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evergreen.core.files import atomic_write, read_json
from evergreen.core.paths import Paths
from evergreen.stages.trials.ledger import read_searches

FACTS = ("score", "epochs", "seconds", "machine", "reason", "counts")
KINDS = {  # of columns in Parquet, in Arrow's words
    **dict.fromkeys(("search", "state", "machine", "reason"), "string"),
    **dict.fromkeys(("number", "repeat", "rungs", "epochs"), "int64"),
    **dict.fromkeys(("score", "seconds"), "float64"),
}
WHOLE = ("options", "counts")  # as JSON
Row = dict[str, Any]


def list_trials(paths: Paths, *, every: bool = False) -> list[Row]:
    """Return a row per trial of the search behind the present choice, or the newest one; or of `every` search."""
    searches = read_searches(paths.trials)
    chosen = read_json(paths.tune).get("trials", []) if paths.tune.is_file() else []
    present = next((one for one in reversed(searches) if _holds(searches[one], chosen)), None)
    shown = searches if every or not searches else [present or next(reversed(searches))]
    return [_row(search, entry) for search in shown for entry in sorted(searches[search], key=_place)]


def write_parquet(rows: Sequence[Row], file: Path) -> None:
    """Write a row per trial: its facts, options and counts as JSON, and a column option_NAME for each option."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array([row[name] for row in rows], pa.type_for_alias(kind)) for name, kind in KINDS.items()}
    columns["curve"] = pa.array([row["curve"] for row in rows], pa.list_(pa.float64()))
    columns |= {name: pa.array([json.dumps(row[name], sort_keys=True) for row in rows]) for name in WHOLE}
    for name in sorted({name for row in rows for name in row["options"]}):
        values = [row["options"].get(name) for row in rows]
        is_number = all(isinstance(one, int | float | None) and not isinstance(one, bool) for one in values)
        texts = [None if one is None else str(one) for one in values]
        columns[f"option_{name}"] = pa.array(values, pa.float64()) if is_number else pa.array(texts, pa.string())
    with atomic_write(file) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _row(search: str, entry: Mapping[str, Any]) -> Row:
    facts = {name: entry.get(name) for name in FACTS}
    named = {"search": search, "number": entry["number"], "repeat": entry.get("repeat", 0), "state": entry["state"]}
    curve = [rank if math.isfinite(rank) else None for rank in entry.get("curve") or ()]
    return {**named, "options": entry["options"], **facts, "curve": curve, "rungs": len(curve)}


def _place(entry: Mapping[str, Any]) -> tuple[int, int]:
    return entry["number"], entry.get("repeat", 0)


def _holds(entries: Sequence[Mapping[str, Any]], chosen: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a search is the one whose trials a choice lists."""
    own = {entry["number"]: entry for entry in entries if "repeat" not in entry}
    listed = [row for row in chosen if row["state"] != "out of time"]
    return bool(listed) and all(
        row["number"] in own and row["options"] == own[row["number"]]["options"] for row in listed
    )
