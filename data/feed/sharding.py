"""Plan how an epoch's rows are cut into batches and shared by ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from evergreen.core.errors import DataError
from evergreen.data.feed.bucketing import TOGETHER, LengthBucketing

Batch = dict[str, np.ndarray]
Augment = Callable[[Batch, np.random.Generator], Batch]


@dataclass(frozen=True)
class BatchPlan:
    """Cut rows into batches of `size` over all ranks; each rank gets its 1/world of every batch.

    Rows of a last batch that do not divide by `world` are left out when world > 1. When shuffling, a last batch of
    fewer than two rows a rank is left out too, for batch normalization cannot use it; the next epoch shuffles anew.
    """

    rows: int
    size: int
    seed: int
    shuffle: bool = True
    rank: int = 0
    world: int = 1
    augment: Augment | None = None
    bucket: LengthBucketing | None = None

    def __post_init__(self) -> None:
        if self.size < self.world:
            problem = f"a batch of {self.size} rows cannot be shared by {self.world} workers"
            raise DataError(problem, place="train.batch_size", fix=f"use {self.world} or more")

    @property
    def steps(self) -> int:
        """Return the batches of an epoch, the same on every rank."""
        n_full, rest = divmod(self.rows, self.size)
        fewest = self.world * (2 if self.shuffle and n_full else 1)
        return n_full + (1 if rest >= fewest else 0)

    @property
    def batches_per_group(self) -> int:
        """Return the number of batches that are cut from the same sorted rows."""
        return TOGETHER if self.bucket else 1

    def single_process(self) -> BatchPlan:
        """Return the same plan for one process."""
        return replace(self, rank=0, world=1)

    def rank_slice(self, rows: int) -> slice:
        """Return this rank's slice of a batch of `rows` rows."""
        share = rows // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def sort_rows(self, lengths: np.ndarray, epoch: int, step: int) -> np.ndarray:
        """Return (N,) the order of the rows of a group of batches that begins at `step`."""
        assert self.bucket
        return self.bucket.order(lengths, self.size, np.random.default_rng([self.seed, epoch, step, 0, 3]))

    def finish_batch(self, batch: Batch, epoch: int, step: int) -> Batch:
        """Return a rank's batch augmented, its padding trimmed."""
        longest = int(self.bucket.lengths(batch).max()) if self.bucket else 0
        if self.augment is not None:
            batch = self.augment(batch, np.random.default_rng([self.seed, epoch, step, self.rank]))
        return self.bucket.trim_padding(batch, longest) if self.bucket else batch
