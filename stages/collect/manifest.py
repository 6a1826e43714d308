"""Write part files that never change in place, and beside each which rows come from which source file."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evergreen.core.files import publish_file
from evergreen.data.arrow import to_numpy
from evergreen.data.parquet import dictionary_columns, read_file
from evergreen.data.prefetch import prefetch
from evergreen.data.sources._files import File

ROWS, BYTES = 100_000, 1 << 24  # a part ends at as many rows, or bytes in memory
ROW_GROUP = 1 << 22  # bytes in memory
AHEAD = 2  # row groups that are read before they are asked for
TRIED, WORTH = 20, 0.9  # rows compressed to see whether their bytes become less, and how much less is worth it
NUMBERED = re.compile(r"part-(\d{5,})\.parquet")
MANIFEST = "files-"  # in the place of "part-"


# which rows of a part are of which file: `rows` of them from `offset` on
SPANS = pa.schema(
    [("file", pa.string()), ("size", pa.int64()), ("stamp", pa.string()), ("offset", pa.int64()), ("rows", pa.int64())]
)


@dataclass(frozen=True, eq=False)
class Part:
    """Locate a part file and say which of its rows come from which source file."""

    path: Path
    rows: int
    spans: pa.Table = field(default_factory=SPANS.empty_table)  # in the order of the rows
    noted: Path | None = None  # where its spans are written already

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Return the rows, of `columns` alone where they are given."""
        return read_file(self.path, columns=columns)

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return list(pq.read_schema(self.path).names)

    @property
    def stamps(self) -> dict[str, str]:
        """Return file → content hash."""
        return dict(zip(self.spans["file"].to_pylist(), self.spans["stamp"].to_pylist(), strict=True))

    def faulty(self) -> np.ndarray:
        """Return (rows,) bool: could not be read."""
        if "_fault" not in pq.read_schema(self.path).names:
            return np.zeros(self.rows, bool)
        return to_numpy(self.read(["_fault"]).column("_fault").is_valid())


def write_parts(
    batches: Iterator[pa.RecordBatch],
    folder: Path,
    first: int,
    files: Sequence[File],
    report_rows: Callable[[int], None],
    *,
    name: bool = True,
) -> list[Part]:
    """Write batches as new parts, numbered from `first`, holding a few row groups at most.

    `files` are those that the rows come from. The next row group is read while one is written. Without `name` the
    parts still have to be published.
    """
    written: list[Part] = []
    listed = [pa.array(values) for values in zip(*files, strict=True)] or [pa.array([], pa.string())] * 3
    known = pa.table(listed, names=SPANS.names[:3])
    writer, tables = None, prefetch(_row_groups(batches), AHEAD)
    try:
        for table in tables:
            if writer is None or writer.full:
                written += [writer.close(name=name)] if writer else []
                writer = PartWriter(folder / f"part-{first + len(written):05}.parquet", table, known)
            writer.add(table)
            report_rows(len(table))
        if writer:
            last = writer.close(name=name)
            read = pa.chunked_array(
                [column for part in [*written, last] for column in part.spans["file"].chunks], pa.string()
            )
            none = known.filter(pc.invert(pc.is_in(known["file"], read)))  # files without rows are known, too
            rest = spans_of(none, np.full(len(none), last.rows), np.zeros(len(none), np.int64))
            written.append(replace(last, spans=pa.concat_tables([last.spans, rest])))
        return written
    finally:
        tables.close()  # type: ignore[attr-defined]
        if writer:
            writer.file.close()


class PartWriter:
    """Write one part, of rows such as those of a first table; it gets its name when it is complete."""

    def __init__(self, path: Path, like: pa.Table, files: pa.Table) -> None:
        self.path, self.files = path, files
        self.rows = self.bytes = 0
        self.names: list[pa.Array] = []  # of the files of runs of rows …
        self.runs: list[np.ndarray] = [np.zeros(0, np.int64)]  # … and how many rows each has
        how = {"compression": _compression(like), "use_dictionary": dictionary_columns(like), "write_statistics": False}
        self.file = pq.ParquetWriter(path.with_suffix(".tmp"), like.schema, **how)

    @property
    def full(self) -> bool:
        """Tell whether the part is large enough."""
        return self.rows >= ROWS or self.bytes >= BYTES

    def add(self, table: pa.Table) -> None:
        """Append a row group."""
        if len(self.files):
            names, rows = self._runs(table)
            self.names.append(names)
            self.runs.append(rows)
        self.file.write_table(table, row_group_size=len(table))
        self.rows, self.bytes = self.rows + len(table), self.bytes + table.nbytes

    def close(self, *, name: bool = True) -> Part:
        """Finish the file and return the part."""
        self.file.close()
        if name:
            publish(self.path)
        if not self.names:
            return Part(self.path, self.rows)
        runs = pc.run_end_encode(pa.concat_arrays(self.names))  # a file may go on from one table to the next
        ends = np.cumsum(np.concatenate(self.runs))[runs.run_ends.to_numpy() - 1]
        starts = np.append(0, ends[:-1])
        of = self.files.take(pc.index_in(runs.values, self.files["file"].combine_chunks()))
        return Part(self.path, self.rows, spans_of(of, starts, ends - starts))

    def _runs(self, table: pa.Table) -> tuple[pa.Array, np.ndarray]:
        """Return the files of runs of rows and the length of each run; an origin is a file's name, or "name#place"."""
        if len(self.files) == 1:
            return self.files["file"].combine_chunks(), np.array([len(table)])
        names = table["_origin"].combine_chunks()
        if pc.any(pc.match_substring(names, "#")).as_py():
            names = pc.replace_substring_regex(names, r"#\d+$", "")
        runs = pc.run_end_encode(names)
        return runs.values, np.diff(runs.run_ends.to_numpy(), prepend=0)


def spans_of(files: pa.Table, offset: np.ndarray, rows: np.ndarray) -> pa.Table:
    """Return SPANS of files: `rows` of each from `offset` on."""
    places = [pa.array(values, pa.int64()) for values in (offset, rows)]
    return pa.table([*files.select(SPANS.names[:3]).columns, *places], schema=SPANS)


def _compression(table: pa.Table) -> dict[str, str]:
    """Return how each column is compressed: incompressible bytes, such as photographs, not at all."""
    codecs = dict.fromkeys(table.column_names, "zstd")
    for name in (one.name for one in table.schema if pa.types.is_binary(one.type)):
        some = b"".join(filter(None, table[name].slice(0, TRIED).to_pylist()))
        if some and pa.Codec("zstd").compress(some).size > WORTH * len(some):
            codecs[name] = "none"
    return codecs


def _row_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield batches gathered to the size of a row group, and cut where they are more than a part."""
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        for start in range(0, len(batch), ROWS):
            pending.append(batch.slice(start, ROWS))
            rows, size = rows + len(pending[-1]), size + pending[-1].nbytes
            if rows >= ROWS // 2 or size >= ROW_GROUP:
                yield pa.Table.from_batches(pending)
                pending, rows, size = [], 0, 0
    if pending:
        yield pa.Table.from_batches(pending)


def publish_parts(parts: Sequence[Part], folder: Path) -> None:
    """Link parts and their manifests into a folder, or copy them where the file system cannot link."""
    for part in parts:
        _put(part.path, folder / part.path.name)
        if part.noted:
            _put(part.noted, folder / part.noted.name)
    write_manifest([part for part in parts if not part.noted], folder)


def _put(path: Path, place: Path) -> None:
    try:
        os.link(path, place)
    except OSError:
        if place.exists():
            raise
        shutil.copyfile(path, place)


def next_number(parts: Sequence[Part]) -> int:
    """Return the number of the next part."""
    return max((int(NUMBERED.fullmatch(part.path.name)[1]) + 1 for part in parts), default=0)  # type: ignore[index]


def load_parts(folder: Path) -> list[Part]:
    """Return the parts of a folder with their manifests."""
    return [load_part(path) for path in sorted(folder.glob("part-*.parquet"))]


def load_part(path: Path) -> Part:
    """Return one part with its manifest."""
    manifest = _manifest(path)
    rows = pq.read_metadata(path).num_rows
    if not manifest.is_file():
        return Part(path, rows)
    return Part(path, rows, read_file(manifest, columns=SPANS.names).cast(SPANS), manifest)


def write_manifest(parts: Sequence[Part], folder: Path) -> list[Part]:
    """Write which rows of each part come from which file, one manifest a part, so that unchanged ones stay."""
    entries = []
    for part in parts:
        path = _manifest(folder / part.path.name) if len(part.spans) else None
        if path:
            how = {"compression": "zstd", "use_dictionary": False}  # nothing repeats
            pq.write_table(part.spans, path.with_suffix(".tmp"), **how)
            publish(path)
        entries.append(replace(part, noted=path))
    return entries


def publish(path: Path) -> None:
    """Give a complete file its name, once its bytes are on disk."""
    publish_file(path.with_suffix(".tmp"), path)


def _manifest(part: Path) -> Path:
    return part.with_name(part.name.replace("part-", MANIFEST))
