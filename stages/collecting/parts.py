"""Parquet files of rows, each whole and never changed in place, and where in them the rows of each source file lie."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from data.files import File

ROWS, BYTES = 100_000, 1 << 24  # a part ends at as many rows, or bytes in memory
ROW_GROUP = 1 << 22  # bytes in memory
AHEAD = 2  # row groups that are read before they are asked for
TRIED, WORTH = 20, 0.9  # rows compressed to see whether their bytes become less, and how much less is worth it
NUMBERED = re.compile(r"part-(\d{5,})\.parquet")
MANIFEST = "files-"  # in the place of "part-"


class Span(NamedTuple):
    """`rows` rows from `offset` on that come from one file."""

    file: str
    size: int
    stamp: str
    offset: int
    rows: int


@dataclass(frozen=True)
class Part:
    path: Path
    rows: int
    spans: list[Span] = field(default_factory=list)
    noted: Path | None = None  # where its spans are written already

    def read(self, columns: list[str] | None = None) -> pa.Table:
        import pyarrow.parquet as pq

        return pq.read_table(self.path, columns=columns)

    def faulty(self) -> np.ndarray:
        """(rows,) whether each row is one that could not be read."""
        import numpy as np
        import pyarrow.parquet as pq

        if "_fault" not in pq.read_schema(self.path).names:
            return np.zeros(self.rows, bool)
        found: np.ndarray = self.read(["_fault"]).column("_fault").is_valid().to_numpy()
        return found


def write(
    batches: Iterator[pa.RecordBatch], folder: Path, first: int, files: Sequence[File], said: Callable[[int], None]
) -> list[Part]:
    """Writes batches as new parts, numbered from `first`, never holding more than a few row groups; `files` are
    theirs. While one row group is written the next is read."""
    from data.ahead import ahead

    written: list[Part] = []
    writer, tables = None, ahead(_row_groups(batches), AHEAD)
    try:
        for table in tables:
            if writer is None or writer.full:
                written += [writer.close()] if writer else []
                writer = Writer(folder / f"part-{first + len(written):05}.parquet", table, files)
            writer.add(table)
            said(len(table))
        if writer:
            read = {span.file for part in written for span in part.spans} | {span.file for span in writer.spans}
            none = [Span(file.name, file.size, file.stamp, writer.rows, 0) for file in files if file.name not in read]
            writer.spans += none  # files without rows are known, too
            written.append(writer.close())
        return written
    finally:
        tables.close()  # type: ignore[attr-defined]
        if writer:
            writer.file.close()


class Writer:
    """One part being written, of rows such as those of a first table. It has its name only when it is whole."""

    def __init__(self, path: Path, like: pa.Table, files: Sequence[File]) -> None:
        import pyarrow.parquet as pq

        from data.parts import repeating

        self.path, self.files = path, {file.name: file for file in files}
        self.rows = self.bytes = 0
        self.spans: list[Span] = []
        how = {"compression": _compression(like), "use_dictionary": repeating(like), "write_statistics": False}
        self.file = pq.ParquetWriter(path.with_suffix(".tmp"), like.schema, **how)

    @property
    def full(self) -> bool:
        return self.rows >= ROWS or self.bytes >= BYTES

    def add(self, table: pa.Table) -> None:
        names, rows = self._runs(table)
        if self.spans and names and names[0] == self.spans[-1].file:  # it goes on from the table before
            self.spans[-1] = self.spans[-1]._replace(rows=self.spans[-1].rows + rows.pop(0))
            del names[0]
        starts = accumulate(rows, initial=self.rows + len(table) - sum(rows))
        _, sizes, stamps = zip(*map(self.files.__getitem__, names), strict=True) if names else ((), (), ())
        self.spans += map(Span, names, sizes, stamps, starts, rows)
        self.file.write_table(table, row_group_size=len(table))
        self.rows, self.bytes = self.rows + len(table), self.bytes + table.nbytes

    def close(self) -> Part:
        self.file.close()
        _named(self.path)
        return Part(self.path, self.rows, self.spans)

    def _runs(self, table: pa.Table) -> tuple[list[str], list[int]]:
        """Which files the rows are of, in order, and how many of each: an origin is a file's name, or "name#place"."""
        import numpy as np
        import pyarrow.compute as pc

        if len(self.files) < 2:
            return list(self.files), [len(table)] * len(self.files)
        names = table["_origin"].combine_chunks()
        if pc.any(pc.match_substring(names, "#")).as_py():
            names = pc.replace_substring_regex(names, r"#\d+$", "")
        runs = pc.run_end_encode(names)
        return runs.values.to_pylist(), np.diff(runs.run_ends.to_numpy(), prepend=0).tolist()


def _compression(table: pa.Table) -> dict[str, str]:
    """How each column is compressed: bytes that nothing makes smaller, such as those of photographs, not at all."""
    import pyarrow as pa

    found = dict.fromkeys(table.column_names, "zstd")
    for name in (one.name for one in table.schema if pa.types.is_binary(one.type)):
        some = b"".join(filter(None, table[name].slice(0, TRIED).to_pylist()))
        if some and pa.Codec("zstd").compress(some).size > WORTH * len(some):
            found[name] = "none"
    return found


def _row_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches gathered until they are worth a row group, and cut where they are more than a part."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        for start in range(0, len(batch), ROWS):
            held.append(batch.slice(start, ROWS))
            rows, size = rows + len(held[-1]), size + held[-1].nbytes
            if rows >= ROWS // 2 or size >= ROW_GROUP:
                yield pa.Table.from_batches(held)
                held, rows, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def place(parts: Sequence[Part], folder: Path) -> None:
    """Puts parts into a folder, and beside each which rows come from which file, without writing what is written
    already where the file system can."""
    for part in parts:
        _put(part.path, folder / part.path.name)
        if part.noted:
            _put(part.noted, folder / part.noted.name)
    noted([part for part in parts if not part.noted], folder)


def _put(path: Path, place: Path) -> None:
    try:
        os.link(path, place)
    except OSError:
        if place.exists():
            raise
        shutil.copyfile(path, place)


def next_number(parts: Sequence[Part]) -> int:
    return max((int(NUMBERED.fullmatch(part.path.name)[1]) + 1 for part in parts), default=0)  # type: ignore[index]


def held(folder: Path) -> list[Part]:
    """The parts in a folder, with what is written beside each of the files that its rows are from."""
    return [held_part(path) for path in sorted(folder.glob("part-*.parquet"))]


def held_part(path: Path) -> Part:
    import pyarrow.parquet as pq

    beside = _manifest(path)
    rows = pq.read_metadata(path).num_rows
    if not beside.is_file():
        return Part(path, rows)
    table = pq.read_table(beside, columns=list(Span._fields))
    return Part(path, rows, list(map(Span, *(column.to_pylist() for column in table.columns))), beside)


def noted(parts: Sequence[Part], folder: Path) -> list[Part]:
    """Writes which rows of each part come from which file; a file a part, so that what stays is not written again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for part in parts:
        path = _manifest(folder / part.path.name) if part.spans else None
        if path:
            table = pa.table([pa.array(values) for values in zip(*part.spans, strict=True)], names=Span._fields)
            pq.write_table(table, path.with_suffix(".tmp"), compression="zstd", use_dictionary=False)  # none repeats
            _named(path)
        found.append(replace(part, noted=path))
    return found


def _named(path: Path) -> None:
    """Gives its name to a file that is whole, once its bytes lie on the disk."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _manifest(part: Path) -> Path:
    return part.with_name(part.name.replace("part-", MANIFEST))
