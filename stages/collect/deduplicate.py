"""Keep the newest of rows with one key, and drop rows whose key the source no longer has."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data.arrow import decode_array, to_names
from evergreen.stages.collect import watermark as moments
from evergreen.stages.collect.compaction import drop_rows
from evergreen.stages.collect.incremental import content_hashes
from evergreen.stages.collect.manifest import Part

IDENTITY = [("high", "<u8"), ("low", "<u8")]  # of a key, 16 bytes of a hash


def keep_latest(
    parts: Sequence[Part], key: Sequence[str], watermark: str, alive: set[bytes] | None, folder: Path
) -> tuple[list[Part], dict[str, int]]:
    """Return the parts without older rows of a key, and counts of rows: repeated (equal content), replaced, deleted.

    The newest is the one of the highest watermark, else the one read last. Memory: 40 bytes a row.
    """
    ids = [hash_keys(part.read(list(key)), key) for part in parts]
    every = np.concatenate(ids) if ids else np.zeros(0, IDENTITY)
    at = [
        moments.positions_of(part.read([watermark])[watermark])[0] if watermark else np.zeros(part.rows)
        for part in parts
    ]
    when = np.nan_to_num(np.concatenate(at), nan=-np.inf) if at else np.zeros(0)
    order = np.lexsort((when, every["low"], every["high"]))  # stable: what was read last is last of its equals
    same = np.zeros(len(order), bool)
    same[:-1] = every[order][1:] == every[order][:-1]
    older = np.zeros(len(order), bool)
    older[order[same]] = True
    older &= every["high"] != 0  # a row without a key is no other's
    shared = np.isin(every["high"], every["high"][older])
    starts = np.cumsum([0, *(part.rows for part in parts)])
    counts = _count_removed(parts, every, older, shared, starts)
    going = older
    if alive is not None:
        dead = np.array([one.tobytes() not in alive for one in every], bool) & ~older & (every["high"] != 0)
        counts["deleted"] = int(np.count_nonzero(dead))
        going = older | dead
    left: list[Part] = []
    for part, start, end in zip(parts, starts, starts[1:], strict=False):
        gone = going[start:end]
        left += drop_rows(part, ~gone, folder) if gone.any() else [part]
    return left, counts


def hash_keys(rows: pa.Table | pa.RecordBatch, key: Sequence[str]) -> np.ndarray:
    """Return (N,) IDENTITY of each row's key; zeros where a column of the key is missing."""
    for name in key:
        if name not in rows.schema.names:
            problem = f"there is no column '{name}'"
            raise DataError(problem, place="collect.id_columns", fix=suggest(name, rows.schema.names))
    columns = [to_names(decode_array(rows.column(name))).to_pylist() for name in key]
    words = (
        bytes(16) if None in row else hashlib.blake2b(repr(row).encode(), digest_size=16).digest()
        for row in zip(*columns, strict=True)
    )
    return np.frombuffer(b"".join(words), IDENTITY)


def read_keys(batches: Iterable[pa.RecordBatch], key: Sequence[str]) -> set[bytes]:
    """Return the hashes of all keys that the source holds."""
    return {one.tobytes() for batch in batches for one in hash_keys(batch, key)}


def _count_removed(
    parts: Sequence[Part], every: np.ndarray, older: np.ndarray, shared: np.ndarray, starts: np.ndarray
) -> dict[str, int]:
    """Count the rows that go: repeated where a row with equal content stays, else replaced."""
    stays: dict[bytes, bytes] = {}
    goes: list[tuple[bytes, bytes]] = []
    for part, start in zip(parts, starts, strict=False):
        some = np.flatnonzero(shared[start : start + part.rows])
        if not len(some):
            continue
        for row, content in zip(some + start, content_hashes(part.read().take(pa.array(some))), strict=True):
            if older[row]:
                goes.append((every[row].tobytes(), content))
            else:
                stays[every[row].tobytes()] = content
    outcomes: Counter[Any] = Counter(stays[identity] == content for identity, content in goes)
    return {"repeated": outcomes[True], "replaced": outcomes[False]}
