"""Make batches of prepared rows. Their order depends on seed and epoch alone, so a killed run resumes exactly.

Rows that fit into memory are encoded once; others stay on disk and are streamed.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import prepared
from evergreen.data.feed.bucketing import LengthBucketing
from evergreen.data.feed.sampler import RowWeights, WeightedSampler, epoch_seed
from evergreen.data.feed.sharding import Augment, Batch, BatchPlan
from evergreen.data.feed.stream import StreamedBatches, harmonize_dictionaries, row_bytes
from evergreen.data.parquet import RowGroup
from evergreen.data.spec import FeatureSpec

MEGABYTES = 1024  # of rows in one process, where nothing else is said
SHARES = 8  # of the memory of a stream: four for rows that validate, two for a window, as read and as mixed, two spare


class InMemoryBatches:
    """Make batches of encoded rows in memory, cut and shared as `BatchPlan` says.

    `drawn` returns the rows of an epoch, in order; by default each row once.
    """

    def __init__(
        self,
        arrays: Batch,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world: int = 1,
        augment: Augment | None = None,
        bucket: LengthBucketing | None = None,
        drawn: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self.arrays = arrays
        self.drawn = drawn or (lambda epoch: np.arange(len(next(iter(arrays.values())))))
        self.cut = BatchPlan(len(self.drawn(0)), batch_size, seed, shuffle, rank, world, augment, bucket)
        self.lengths = bucket.lengths(arrays) if bucket else None

    @property
    def rows(self) -> int:
        """Return the rows of an epoch."""
        return self.cut.rows

    def steps(self) -> int:
        """Return the batches of an epoch, the same on every rank."""
        return self.cut.steps

    def single_process(self) -> Self:
        """Return the same batches as one process gets them."""
        other = copy(self)
        other.cut = self.cut.single_process()
        return other

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on."""
        order, cut = self.drawn(number), self.cut
        if cut.shuffle:
            order = order[np.random.default_rng([cut.seed, number]).permutation(len(order))]
        for step in range(start, cut.steps):
            if self.lengths is not None and (step == start or step % cut.batches_per_group == 0):
                first = step // cut.batches_per_group * cut.batches_per_group
                place = slice(first * cut.size, min(first + cut.batches_per_group, cut.steps) * cut.size)
                order[place] = order[place][cut.sort_rows(self.lengths[order[place]], number, first)]
            chosen = order[step * cut.size : (step + 1) * cut.size]
            chosen = chosen[cut.rank_slice(len(chosen))]
            yield cut.finish_batch({name: values[chosen] for name, values in self.arrays.items()}, number, step)


def training_batches(
    ready: Path,
    splits: Sequence[str],
    batch_size: int,
    *,
    window: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    augment: Augment | None = None,
    bucket: bool = False,
    weigh: RowWeights | None = None,
) -> InMemoryBatches | StreamedBatches:
    """Return shuffled batches of the splits' rows: streamed in windows of `window` rows, or from memory if that is 0.

    `bucket` batches rows of similar length, `weigh` says how often a row comes.

    Raises DataError where a part file is damaged or missing.
    """
    spec = FeatureSpec.load(ready)
    units = [unit for split in splits for unit in complete_row_groups(ready, split, spec)]
    weighed = [weigh(unit.read(weigh.columns, dictionary=True)) for unit in units] if weigh else []
    draws = WeightedSampler(weighed) if weigh else None
    how: dict[str, Any] = {"rank": rank, "world": world, "augment": augment}
    how["bucket"] = LengthBucketing(spec) if bucket else None
    if window:
        rows = draws.rows if draws else sum(unit.rows for unit in units)
        return StreamedBatches(
            harmonize_dictionaries(units), spec, BatchPlan(rows, batch_size, seed, **how), window, weigh, draws
        )
    starts = np.cumsum([0, *(unit.rows for unit in units)])

    def drawn(epoch: int) -> np.ndarray:
        if draws is None:
            return np.arange(starts[-1])
        at = epoch_seed(seed, epoch)
        return np.concatenate([starts[n] + draws.chosen(n, one, at) for n, one in enumerate(weighed)])

    return InMemoryBatches(encode_row_groups(spec, units), batch_size, seed=seed, shuffle=True, drawn=drawn, **how)


def complete_row_groups(ready: Path, split: str, spec: FeatureSpec) -> list[RowGroup]:
    """Return the row groups of a split. Raises DataError naming the missing file where rows are missing."""
    units = prepared.row_groups(ready, split)
    n_rows = sum(unit.rows for unit in units)
    if n_rows != spec.rows[split]:
        here = {unit.path.name for unit in units}
        others = {path.name for other in spec.rows if other != split for path in (ready / other).glob("part-*.parquet")}
        gone = " or ".join(sorted(others - here)[:3]) or "a part"  # a part of a split has the name of its neighbours
        problem = f"{gone} is missing or another's: {n_rows:,} rows are here, {spec.rows[split]:,} were prepared"
        raise DataError(problem, place=str(ready / split), fix=prepared.FIX)
    return units


def shuffle_window_rows(spec: FeatureSpec, ready: Path, megabytes: float) -> int:
    """Return the rows to shuffle at a time so that streaming keeps within `megabytes`; 0 where all rows fit encoded."""
    if not max_rows_in_memory(spec, ("train", "validation"), megabytes):
        return 0
    first = prepared.row_groups(ready, "train")[0].read(_columns(spec))
    row_bytes: int = -(-first.nbytes // max(1, len(first)))
    return max(1, int(megabytes * 2**20) // (SHARES * row_bytes))


def max_rows_in_memory(spec: FeatureSpec, splits: Sequence[str], megabytes: float) -> int:
    """Return the encoded rows of each split that fit into `megabytes` together; 0 where all do."""
    fitting = int(megabytes * 2**20) // row_bytes(spec)
    return 0 if sum(spec.rows[split] for split in splits) <= fitting else max(1, fitting // len(splits))


def load_split(ready: Path, split: str) -> tuple[FeatureSpec, pa.Table]:
    """Return the spec and the checked rows of a split."""
    return FeatureSpec.load(ready), prepared.read(ready, split)


def load_encoded_split(ready: Path, split: str, most: int = 0) -> Batch:
    """Return {field: (N, *shape), "target": (N, *shape)} of a split, or of a hash sample of `most` rows."""
    spec = FeatureSpec.load(ready)
    units = complete_row_groups(ready, split, spec)
    if not most or spec.rows[split] <= most:
        return encode_row_groups(spec, units)
    return spec.encode(prepared.hash_sample(ready, split, most, _columns(spec)), target=True)


def encode_row_groups(spec: FeatureSpec, units: Sequence[RowGroup]) -> Batch:
    """Encode all rows, one row group after another."""
    columns = _columns(spec)
    parts = (spec.encode(unit.read(columns, dictionary=True), target=True) for unit in units)
    if len(units) == 1:
        return next(parts)
    arrays: Batch = {}
    first = 0
    for unit, part in zip(units, parts, strict=True):
        for name, values in part.items():
            if not first:
                arrays[name] = np.empty((sum(one.rows for one in units), *values.shape[1:]), values.dtype)
            arrays[name][first : first + unit.rows] = values
        first += unit.rows
    return arrays


def _columns(spec: FeatureSpec) -> list[str]:
    return list(dict.fromkeys([*spec.columns, *spec.target.columns]))
