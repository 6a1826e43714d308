"""Prepared rows as batches. Their order follows from the seed and the epoch alone, so a killed run resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from data import ready as prepared
from data.field import DataError
from data.spec import Spec

Batch = dict[str, np.ndarray]


class Batches:
    """Batches of `batch_size` rows over all ranks together; each rank is given its 1/world of every one.

    Rows of a last batch that do not divide by `world` are left out when world > 1. When shuffling, a last batch of
    fewer than two rows a rank is left out too (batch normalisation cannot use it); the next epoch shuffles anew.
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
        augment: Callable[[Batch, np.random.Generator], Batch] | None = None,
    ) -> None:
        if batch_size < world:
            raise DataError(
                f"a batch of {batch_size} rows cannot be shared by {world} workers",
                place="train.batch_size",
                fix=f"make it {world} or more",
            )
        self.arrays, self.batch_size, self.seed, self.shuffle = arrays, batch_size, seed, shuffle
        self.rank, self.world, self.augment = rank, world, augment
        self.rows = len(next(iter(arrays.values())))

    def steps(self) -> int:
        """Batches an epoch, the same on every rank."""
        whole, rest = divmod(self.rows, self.batch_size)
        fewest = self.world * (2 if self.shuffle and whole else 1)
        return whole + (1 if rest >= fewest else 0)

    def whole(self) -> Batches:
        """The same batches as a single process is given them."""
        alone = {"seed": self.seed, "shuffle": self.shuffle, "augment": self.augment}
        return Batches(self.arrays, self.batch_size, **alone)  # type: ignore[arg-type]

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on."""
        order = (
            np.random.default_rng([self.seed, number]).permutation(self.rows) if self.shuffle else np.arange(self.rows)
        )
        for step in range(start, self.steps()):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            share = len(chosen) // self.world
            chosen = chosen[self.rank * share : (self.rank + 1) * share]
            batch = {name: values[chosen] for name, values in self.arrays.items()}
            if self.augment is not None:
                batch = self.augment(batch, np.random.default_rng([self.seed, number, step, self.rank]))
            yield batch


def load(ready: Path, split: str) -> tuple[Spec, pa.Table]:
    """The spec and the checked, not yet encoded rows of a split."""
    return Spec.load(ready), prepared.read(ready, split)


def arrays(ready: Path, split: str) -> Batch:
    """A whole split encoded: {field: (N, *shape), "target": (N, *shape)}."""
    spec, table = load(ready, split)
    return spec.encode(table, target=True)
