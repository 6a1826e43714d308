"""Define where training rows come from, as the trainer sees it."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self

import torch
from torch import Tensor


class Feed(Protocol):
    """Yield batches in an order that depends on the epoch's number alone, so that a run can continue anywhere."""

    @property
    def rows(self) -> int:
        """The rows of an epoch, over all ranks."""
        ...

    def steps(self) -> int:
        """Return the number of batches an epoch, the same on every rank."""
        ...

    def single_process(self) -> Self:
        """Return the feed that a single process would be given for the same rows."""
        ...

    def epoch(self, number: int, start: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield this rank's slice of batches `start`, `start + 1`, … of one epoch, as torch.as_tensor takes them."""
        ...


class TensorFeed:
    """Feed rows that are tensors in memory; `batch_size` is global, each rank takes its slice."""

    def __init__(
        self, rows: Mapping[str, Tensor], batch_size: int, *, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.columns = dict(rows)
        self.rows = self.columns["target"].shape[0]
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world

    def steps(self) -> int:
        """Return the number of batches an epoch."""
        return -(-self.rows // self.batch_size)

    def single_process(self) -> Self:
        """Return the feed of a single process."""
        return type(self)(self.columns, self.batch_size, seed=self.seed)

    def epoch(self, number: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
        """Yield this rank's slice of each batch, in the epoch's order."""
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + number))
        mixed = {name: column[order] for name, column in self.columns.items()}
        for first in range(start * self.batch_size, self.rows, self.batch_size):
            share = (min(first + self.batch_size, self.rows) - first) // self.world
            begin = first + self.rank * share
            yield {name: column[begin : begin + share] for name, column in mixed.items()}
