"""Prepare shards: some consecutive row groups, independently of all others, into parts of their own.

Which row groups make a shard depends on the collected rows alone, so the parts are the same whoever prepares them, and
a finished shard stays finished when the rest is killed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from evergreen.core.files import read_json, write_json
from evergreen.data import kinds
from evergreen.data.parquet import RowGroup, RowGroupWriter
from evergreen.data.prepare.prepared_rows import PreparedRows, RowReader
from evergreen.data.prepare.split import SPLITS
from evergreen.data.prepared import QUARANTINED
from evergreen.data.row_ids import from_arrow
from evergreen.stages.preprocess.counts import ShardCounts
from evergreen.stages.preprocess.raw_sample import read_raw

ROWS, BYTES = 250_000, 1 << 26  # a shard ends at as many raw rows, or bytes uncompressed
DONE, SAMPLE, UNITS = "done", "sample", "units"


@dataclass(frozen=True)
class Shard:
    """Number some consecutive row groups."""

    number: int
    units: tuple[RowGroup, ...]

    @property
    def rows(self) -> int:
        """Return the raw rows of the shard."""
        return sum(unit.rows for unit in self.units)


@dataclass(frozen=True)
class PrepareJob:
    """Say how and where shards are prepared; it is sent to other machines."""

    reader: RowReader
    folder: Path
    below: Mapping[str, float]  # split → fraction of all ids: rows whose id is below it are kept as a sample
    memory_mb: int
    turn: int = 0  # 1 and 2: again, since all rows together showed what no shard knew

    def marker_file(self, shard: Shard) -> Path:
        """Return the file that a finished shard leaves."""
        return self.folder / DONE / f"{shard.number:05}-{self.turn}.json"

    def units_file(self, shard: Shard) -> Path:
        """Return the file of what is dealt of a shard, as its first turn found it; not there where nothing is."""
        return self.folder / UNITS / f"part-{shard.number:05}.parquet"


def make_shards(units: Sequence[RowGroup], as_one: bool) -> list[Shard]:
    """Gather row groups in order into shards; with `as_one` all into one."""
    gathered: list[list[RowGroup]] = [[]]
    rows = size = 0
    for unit in units:
        if gathered[-1] and not as_one and (rows + unit.rows > ROWS or size + unit.size > BYTES):
            gathered.append([])
            rows = size = 0
        gathered[-1].append(unit)
        rows, size = rows + unit.rows, size + unit.size
    return [Shard(number, tuple(held)) for number, held in enumerate(gathered)]


def prepare_shard(shard: Shard, work: PrepareJob) -> ShardCounts:
    """Write a shard's parts and then its counts; a finished shard only returns its counts."""
    done = work.marker_file(shard)
    if done.is_file():
        return ShardCounts.from_json(read_json(done))
    tally = _write_shard(shard, work)
    write_json(done, tally.to_json(), sort=False)  # reading it again gives the same order
    return tally


def _write_shard(shard: Shard, work: PrepareJob) -> ShardCounts:
    name, tally = f"part-{shard.number:05}.parquet", ShardCounts()
    writers = {split: RowGroupWriter(work.folder / split / name) for split in (*SPLITS, QUARANTINED)}
    samples = {split: RowGroupWriter(work.folder / SAMPLE / split / name, durable=False) for split in work.below}
    units = [RowGroupWriter(work.units_file(shard), durable=False)] if not work.turn else []
    for writer in (*writers.values(), *samples.values(), *units):  # of an earlier turn
        writer.path.unlink(missing_ok=True)
    schema = work.reader.schema
    for examples in _examples(shard, work):
        tally.add(examples, schema)
        for split in SPLITS:
            part = examples.split_rows(split)
            tally.add_part(split, part, schema.target if kinds.find(schema.target_kind).HAS_CLASSES else "")
            writers[split].add(part)
            samples[split].add(_smallest_ids(part, work.below[split]))
        writers[QUARANTINED].add(examples.quarantine)
        if units and examples.units is not None:
            units[0].add(examples.units)
    for writer in (*writers.values(), *samples.values(), *units):
        writer.close()
    return tally


def _examples(shard: Shard, work: PrepareJob) -> Iterator[PreparedRows]:
    if work.reader.all_rows_reason:
        yield work.reader.prepare(read_raw(shard.units, work.memory_mb, work.reader.all_rows_reason))
        return
    for unit in shard.units:
        yield work.reader.prepare(unit.read(dictionary=True))


def _smallest_ids(part: pa.Table, below: float) -> pa.Table:
    """Return the rows with the smallest ids."""
    return part.filter(pa.array(from_arrow(part.column("_id"))[:, 0] < np.float64(below) * 2.0**64))
