"""Stream batches from disk: read row groups in a new order each epoch, and shuffle within windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa

from evergreen.data.feed.sampler import RowWeights, WeightedSampler, epoch_seed
from evergreen.data.feed.sharding import Batch, BatchPlan
from evergreen.data.parquet import RowGroup
from evergreen.data.prefetch import prefetch
from evergreen.data.spec import FeatureSpec

PIECE = 4 * 2**20  # bytes of batches that are encoded at once: few enough to wait for, many enough to be worth it
MOST = 128  # of them
AHEAD = 2  # pieces that wait


@dataclass(frozen=True)
class StreamedBatches:
    """Make batches of rows that are read and encoded as they are needed.

    The row groups come in an order that depends on seed and epoch. As many as fit into `window` rows, at least one,
    are read together and shuffled, also by seed and epoch alone; rows that do not fill a batch begin the next. So
    the order is the same for any number of ranks, an epoch can begin at any step, and a window of all rows gives
    the same batches as memory. A thread reads and encodes ahead. With `draws` each row comes as often as `weigh`
    says.
    """

    units: tuple[RowGroup, ...]
    spec: FeatureSpec
    cut: BatchPlan
    window: int  # rows that are mixed
    weigh: RowWeights | None = None
    draws: WeightedSampler | None = None

    @property
    def rows(self) -> int:
        """Return the rows of an epoch."""
        return self.cut.rows

    def steps(self) -> int:
        """Return the batches of an epoch, the same on every rank."""
        return self.cut.steps

    def single_process(self) -> StreamedBatches:
        """Return the same batches as one process gets them."""
        return replace(self, cut=self.cut.single_process())

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on.

        Raises DataError where a part file is damaged or missing.
        """
        with closing(prefetch(self._pieces(number, start), AHEAD)) as pieces:
            for batches in pieces:
                yield from batches

    def _pieces(self, number: int, start: int) -> Iterator[list[Batch]]:
        """Yield lists of batches that are encoded together: to hand over each alone costs more than it gains."""
        size, together = self.cut.size, self.cut.batches_per_group
        begin = step = start // together * together
        pending: list[pa.Table] = []
        first = 0
        windows = self._windows(number) if start < self.cut.steps else []
        for place, (units, rows) in enumerate(windows):
            first, before, last = first + rows, first, place == len(windows) - 1
            if not pending and not last and first <= begin * size:
                continue  # all of it is done
            mixed = self._mixed(number, place, units)
            mixed = pa.concat_tables([*pending, mixed if pending else mixed.slice(max(0, begin * size - before))])
            batches = self.cut.steps - step if last else len(mixed) // (size * together) * together
            for piece in range(0, batches, self._at_once):
                several = min(self._at_once, batches - piece)
                made = self._encoded(mixed.slice(piece * size, several * size), number, step + piece)
                yield list(islice(made, max(0, start - step - piece), None))
            rest = np.arange(batches * size, max(len(mixed), batches * size))
            step, pending = step + batches, [mixed.take(pa.array(rest))]
            del mixed  # before the next is read

    def _windows(self, number: int) -> list[tuple[list[int], int]]:
        """Return (row groups shuffled together, their number of rows) in the order of an epoch."""
        rows = np.array([unit.rows for unit in self.units])
        drawn = rows if self.draws is None else np.diff(self.draws.counts(epoch_seed(self.cut.seed, number)))
        windows: list[list[int]] = []
        full = self.window
        for unit in np.random.default_rng([self.cut.seed, number, 0, 0, 2]).permutation(len(rows)).tolist():
            more = int(max(rows[unit], drawn[unit]))
            if not windows or full + more > self.window:
                windows.append([])
                full = 0
            windows[-1].append(unit)
            full += more
        return [(sorted(units), int(drawn[units].sum())) for units in windows]

    def _mixed(self, number: int, place: int, units: list[int]) -> pa.Table:
        """Return the rows that an epoch has of some row groups, shuffled."""
        weigh, columns = self.weigh, [*self.spec.columns, *self.spec.target.columns]
        tables, chosen, before = [], [], 0
        for unit in units:
            named = dict.fromkeys([*columns, *(weigh.columns if weigh else [])])
            table = self.units[unit].read(list(named), dictionary=True)
            if weigh and self.draws:
                rows = self.draws.chosen(unit, weigh(table), epoch_seed(self.cut.seed, number))
            else:
                rows = np.arange(len(table))
            chosen.append(rows + before)
            tables.append(table)
            before += len(table)
        order = np.concatenate(chosen)
        order = order[np.random.default_rng([self.cut.seed, number, place]).permutation(len(order))]
        mixed_table = pa.concat_tables(tables).combine_chunks()
        del tables, table  # before the rows are there a third time
        return mixed_table.take(pa.array(order))

    def _encoded(self, rows: pa.Table, number: int, step: int) -> Iterator[Batch]:
        """Yield this rank's share of each of some complete batches, the last of which may be short."""
        firsts = range(0, len(rows), self.cut.size)
        shares = [self.cut.rank_slice(min(self.cut.size, len(rows) - first)) for first in firsts]
        mine = [np.arange(first + one.start, first + one.stop) for first, one in zip(firsts, shares, strict=True)]
        if self.cut.bucket:  # all ranks have to know how long all rows are
            arrays = self.spec.encode(rows, target=True)
            order = self.cut.sort_rows(self.cut.bucket.lengths(arrays), number, step)
            arrays = {name: values[order[np.concatenate(mine)]] for name, values in arrays.items()}
        else:
            rows = rows if self.cut.world == 1 else rows.take(pa.array(np.concatenate(mine)))
            arrays = self.spec.encode(rows, target=True)
        ends = np.cumsum([0, *map(len, mine)])
        for place, (first, last) in enumerate(pairwise(ends)):
            batch = {name: values[first:last] for name, values in arrays.items()}
            yield self.cut.finish_batch(batch, number, step + place)

    @property
    def _at_once(self) -> int:
        """Return the number of batches that are encoded together."""
        if self.cut.bucket:
            return self.cut.batches_per_group
        return max(1, min(MOST, PIECE // (row_bytes(self.spec) * self.cut.size)))


def harmonize_dictionaries(units: Sequence[RowGroup]) -> tuple[RowGroup, ...]:
    """Return row groups that are all read into columns of the same types."""
    shared = set.intersection(*(set(unit.dictionary) for unit in units))
    return tuple(replace(unit, dictionary=tuple(name for name in unit.dictionary if name in shared)) for unit in units)


def row_bytes(spec: FeatureSpec) -> int:
    """Return the bytes of one encoded row with its target."""
    return sum(field.row_bytes for field in [*spec.inputs.values(), spec.target])
