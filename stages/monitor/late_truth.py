"""Join labels that come later with the windows of the rows that they are about, each label once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evergreen.data.arrow import to_numpy

MAX_WAITING = 1000  # files with labels of rows that no window holds yet
Json = dict[str, Any]


class LateLabels:
    """Hold the labels that came since the last look, and those that wait for the window of their rows.

    `state` is {"last": the newest file that was read, "waiting": file → labels that wait}; it is changed in place.
    """

    def __init__(self, folder: Path, state: Json) -> None:
        self.state = state
        names = sorted(path.name for path in folder.glob("labels/*.parquet"))
        self.new = {name for name in names if name > state["last"]}
        waiting = [name for name in names if name in state["waiting"]]
        self.files = [*waiting, *sorted(self.new)]
        tables = [
            pq.read_table(folder / "labels" / name, columns=["request_id", "row", "label"]) for name in self.files
        ]
        for name, table in zip(self.files, tables, strict=True):
            if name in self.new:
                state["waiting"][name] = table.num_rows
        self.file_of = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
        joined = pa.concat_tables(tables, promote_options="permissive") if tables else None
        self.labels = joined.column("label").combine_chunks() if joined else None
        self.keys = _keys(joined) if joined else None
        self.is_new = np.isin(self.file_of, [place for place, name in enumerate(self.files) if name in self.new])
        if names:
            state["last"] = max(names[-1], state["last"])
        state["waiting"] = dict(sorted(state["waiting"].items())[-MAX_WAITING:])

    def take(self, table: pa.Table, *, new_only: bool = False) -> tuple[np.ndarray[Any, Any], pa.Array] | None:
        """Return the places of rows with a label, and the labels, which wait no longer; None where there is none."""
        if self.labels is None:
            return None
        places = to_numpy(pc.index_in(_keys(table), self.keys))
        rows = np.flatnonzero(~np.isnan(places.astype(np.float64)))
        found = places[rows].astype(np.int64)
        if new_only:
            rows, found = rows[self.is_new[found]], found[self.is_new[found]]
        if not len(rows):
            return None
        for place, count in zip(*np.unique(self.file_of[found], return_counts=True), strict=True):
            name = self.files[place]
            left = self.state["waiting"].get(name, 0) - int(count)
            self.state["waiting"].pop(name, None)
            if left > 0:
                self.state["waiting"][name] = left
        return rows, self.labels.take(pa.array(found))


class Spans:
    """Find the window of a logged row by the file that holds it, and its number in it."""

    def __init__(self, windows: list[Json]) -> None:
        spans: dict[str, list[tuple[int, int, int]]] = {}
        for place, window in enumerate(windows):
            for key, (first, end) in window["spans"].items():
                spans.setdefault(key, []).append((first, end, place))
        self.spans = {key: np.array(sorted(some)) for key, some in spans.items()}

    def split(self, key: str, first: int, table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """Yield (place of a window, those of the rows that it holds), for rows of a file from its row `first` on."""
        for start, end, place in self.spans.get(key, ()):
            low, high = max(int(start) - first, 0), min(int(end) - first, table.num_rows)
            if low < high:
                yield int(place), table.slice(low, high - low)


def _keys(table: pa.Table | Mapping[str, Any]) -> pa.Array:
    """Return request id and row as one text a row."""
    joined = pc.binary_join_element_wise(table["request_id"], pc.cast(table["row"], pa.string()), "\n")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
