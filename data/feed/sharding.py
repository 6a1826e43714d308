"""How an epoch's rows are cut into batches, what each rank is given of them, and what is done to a batch before."""

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
    """Batches of `size` rows over all ranks together; each rank is given its 1/world of every one.

    Rows of a last batch that do not divide by `world` are left out when world > 1. When shuffling, a last batch of
    fewer than two rows a rank is left out too (batch normalisation cannot use it); the next epoch shuffles anew.
    With a `bucket` rows of one length come together.
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
            raise DataError(
                f"a batch of {self.size} rows cannot be shared by {self.world} workers",
                place="train.batch_size",
                fix=f"make it {self.world} or more",
            )

    @property
    def steps(self) -> int:
        """Batches an epoch, the same on every rank."""
        whole, rest = divmod(self.rows, self.size)
        fewest = self.world * (2 if self.shuffle and whole else 1)
        return whole + (1 if rest >= fewest else 0)

    @property
    def batches_per_group(self) -> int:
        """Batches that are cut out of the same rows."""
        return TOGETHER if self.bucket else 1

    def single_process(self) -> BatchPlan:
        """The same batches as a single process is given them."""
        return replace(self, rank=0, world=1)

    def rank_slice(self, rows: int) -> slice:
        """This rank's share of a batch of so many rows."""
        share = rows // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def sort_rows(self, lengths: np.ndarray, epoch: int, step: int) -> np.ndarray:
        """(N,) the rows of the batches from `step` on that are cut together, in the order in which they come."""
        assert self.bucket
        return self.bucket.order(lengths, self.size, np.random.default_rng([self.seed, epoch, step, 0, 3]))

    def finish_batch(self, batch: Batch, epoch: int, step: int) -> Batch:
        """A rank's share of a batch as it is given out: varied, its padding cut off."""
        longest = int(self.bucket.lengths(batch).max()) if self.bucket else 0
        if self.augment is not None:
            batch = self.augment(batch, np.random.default_rng([self.seed, epoch, step, self.rank]))
        return self.bucket.trim_padding(batch, longest) if self.bucket else batch
