"""Take a row that is to be forgotten out of a request log: what was asked with the same values, and its labels."""

import fcntl
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evergreen.core.errors import DataError
from evergreen.core.files import atomic_write
from evergreen.data.arrow import decode_array, to_names, to_numpy, to_strings
from evergreen.stages.deploy import logged_requests
from evergreen.stages.request_files import read_journal

Place = tuple[str, int]  # request id and row


def remove_requests(folder: Path, rows: pa.Table, id_column: str = "") -> tuple[int, int]:
    """Remove logged requests with the values of `rows`, or with its id; return how many went, and how many are left.

    Left are those in a journal that the endpoint is writing. Columns that are no plain values do not count.
    """
    n_left, places = 0, set[Place]()
    for journal in sorted(folder.glob("journal/*.arrows")):
        with journal.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                n_left += sum(
                    int(_match(pa.Table.from_batches([one]), rows, id_column).sum()) for one in read_journal(journal)
                )
                continue
            logged_requests.compact(journal)
    found = {path: _match(pq.read_table(path), rows, id_column) for path in sorted(folder.glob("????-??-??/*.parquet"))}
    for path, gone in found.items():
        places |= {*_list_places(pq.read_table(path).filter(pa.array(gone)))}
    for path in sorted(folder.glob("labels/*.parquet")) if places else ():  # first, while what they belong to is known
        _rewrite(path, np.array([place in places for place in _list_places(pq.read_table(path))], bool))
    for path, gone in found.items():
        _rewrite(path, gone)
    return len(places), n_left


def _match(logged: pa.Table, rows: pa.Table, id_column: str) -> np.ndarray:
    """Return (N,) bool: the logged row has all values of one of `rows` that both have, or its id."""
    found, asked = np.zeros(len(logged), bool), logged["asked"].combine_chunks()
    for row in range(len(rows)):
        known, n_shared = np.ones(len(logged), bool), 0
        for field in asked.type:
            if field.name in rows.column_names:
                try:
                    value = _to_text(rows[field.name].slice(row, 1))[0]
                    column = _to_text(pc.struct_field(asked, field.name))
                except DataError:  # a picture, a list
                    continue
                n_shared += 1
                same = pc.equal(column, value) if value.is_valid else pc.is_null(column)
                known &= to_numpy(pc.fill_null(same, False))
        found |= known & bool(n_shared)
        if id_column and (value := _to_text(rows[id_column].slice(row, 1))[0]).is_valid:
            found |= to_numpy(pc.fill_null(pc.equal(_to_text(logged["id"]), value), False))
    return found


def _to_text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return plain values as text, numbers of whatever writing alike."""
    names = to_names(decode_array(column))
    try:
        return to_strings(names.cast(pa.float64()))
    except pa.ArrowInvalid:
        return names


def _rewrite(path: Path, gone: np.ndarray) -> None:
    if gone.all():
        path.unlink()
    elif gone.any():
        with atomic_write(path) as temporary:
            temporary.touch(0o600)
            pq.write_table(pq.read_table(path).filter(pa.array(~gone)), temporary, compression="zstd")


def _list_places(table: pa.Table) -> list[Place]:
    return list(zip(table["request_id"].to_pylist(), table["row"].to_pylist(), strict=True))
