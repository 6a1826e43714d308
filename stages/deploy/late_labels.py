"""Take the truth that comes later: labels, joined with the logged requests by request id and row or by the caller's id.

They lie in `.evergreen/requests/NAME/labels/*.parquet`: request_id, row, label, and when they came.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evergreen.core.errors import DataError
from evergreen.core.files import atomic_write
from evergreen.core.processes import exclusive_lock
from evergreen.data import kinds
from evergreen.stages.deploy.logged_requests import to_id
from evergreen.stages.request_files import SHADOW, read_requests

if TYPE_CHECKING:
    from evergreen.data.spec import FeatureSpec

FIELDS = 'send {"request_id": …, "row": 0, "label": …} or {"id": your own, "label": …}'
MAX_DIGITS = 15  # of a row's number
MAX_TOLD = 20  # ids that a message lists
Place = tuple[str, int]  # request id and row


def add_labels(folder: Path, spec: FeatureSpec, labels: Sequence[Any]) -> dict[str, Any]:
    """Store the labels of logged rows; return {"added", "unknown", "double"}: how many, and ids that were left out.

    Unknown ids are those of no logged row, double ones have a label already or twice here, or name several rows. Raises
    DataError where an entry is none or a label is no value of the target.
    """
    entries = [_read_entry(entry, number) for number, entry in enumerate(labels)]
    column, faults = kinds.kind_of(spec.target).validate(_to_array([label for _, label in entries]))
    if faults:
        number, reason = min(faults.items())
        raise DataError(reason, place=f"labels, entry {number}", fix=f"give a value of {spec.target_name}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive_lock(folder / "labels.lock", "labels are being added", timeout_s=60):
        places = _find_places(folder, [key for key, _ in entries])
        known, unknown, double = set(_stored_places(folder)), [], []
        repeated = Counter(place for key, _ in entries for place in places.get(key, ())[:1])
        kept: list[tuple[int, Place]] = []
        for number, (key, _) in enumerate(entries):
            found = places.get(key, [])
            if not found:
                unknown.append(key)
            elif len(found) > 1 or found[0] in known or repeated[found[0]] > 1:
                double.append(key)
            else:
                kept.append((number, found[0]))
        if kept:
            _write(folder, [place for _, place in kept], column.take(pa.array([number for number, _ in kept])))
    told = {"unknown": unknown, "double": double}
    return {"added": len(kept)} | {
        name: {"count": len(keys), "ids": [_tell(key) for key in keys[:MAX_TOLD]]} for name, keys in told.items()
    }


def _read_entry(entry: Any, number: int) -> tuple[str | Place, Any]:
    """Return how an entry names its row, by the caller's id or by request id and row, and the label."""
    place = f"labels, entry {number}"
    if not isinstance(entry, dict) or "label" not in entry or entry["label"] is None:
        raise DataError("it has no label", place=place, fix=FIELDS)
    if entry.get("id") not in (None, ""):
        return to_id(entry["id"]), entry["label"]
    row = str(entry.get("row") or 0)
    if not entry.get("request_id") or not row.isdecimal() or len(row) > MAX_DIGITS:
        raise DataError("it names no row", place=place, fix=FIELDS)
    return (to_id(entry["request_id"]), int(row)), entry["label"]


def _to_array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (ValueError, TypeError, OverflowError) as error:  # those of Arrow are among them
        raise DataError(
            "the labels are of several types, or odd", place="labels", fix="send values of one type"
        ) from error


def _find_places(folder: Path, keys: Sequence[str | Place]) -> dict[str | Place, list[Place]]:
    """Return what each key names among the logged rows."""
    own_ids = pa.array([key for key in keys if isinstance(key, str)], pa.string())
    request_ids = pa.array({key[0] for key in keys if not isinstance(key, str)}, pa.string())
    wanted, places = set(keys), dict[str | Place, list[Place]]()
    for table in read_requests(folder, ["request_id", "row", "id", "role"]):
        if table["role"][0].as_py() == SHADOW:  # production answered the same row
            continue
        mask = pc.or_(pc.is_in(table["request_id"], request_ids), pc.is_in(table["id"], own_ids))
        rows = table.filter(mask).to_pylist()
        for row in rows:
            place = (row["request_id"], row["row"])
            for key in {row["id"], place} & wanted:
                places.setdefault(key, []).append(place)
    return places


def _stored_places(folder: Path) -> list[Place]:
    tables = [pq.read_table(path, columns=["request_id", "row"]) for path in sorted(folder.glob("labels/*.parquet"))]
    return [(row["request_id"], row["row"]) for table in tables for row in table.to_pylist()]


def _write(folder: Path, places: Sequence[Place], labels: pa.Array) -> None:
    columns: Mapping[str, Any] = {
        "request_id": pa.array([request_id for request_id, _ in places]),
        "row": pa.array([row for _, row in places], pa.int64()),
        "label": labels,
        "time": pa.array([datetime.now(UTC)] * len(places), pa.timestamp("us", "UTC")),
    }
    (folder / "labels").mkdir(mode=0o700, exist_ok=True)
    with atomic_write(folder / "labels" / f"{time.time_ns():020d}.parquet") as temporary:
        temporary.touch(0o600)
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def _tell(key: str | Place) -> Any:
    return key if isinstance(key, str) else {"request_id": key[0], "row": key[1]}
