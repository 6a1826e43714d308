"""Where training rows come from, as the loop sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Feed(Protocol):
    """Batches whose order is a function of the epoch's number alone, so that a run can continue at any position."""

    @property
    def rows(self) -> int: ...  # rows of the whole epoch, over all ranks

    def steps(self) -> int:
        """Batches per epoch, equal on every rank."""
        ...

    def single_process(self) -> Feed:
        """The same rows as a single process is fed them."""
        ...

    def epoch(self, number: int, start: int = 0) -> Iterator[Mapping[str, Any]]:
        """This rank's share of batches `start`, `start + 1`, … of one epoch; values are what torch.as_tensor takes."""
        ...


class TensorFeed:
    """A feed of rows that are tensors in memory already; `batch_size` is global, each rank takes its slice."""

    def __init__(
        self, rows: Mapping[str, Tensor], batch_size: int, *, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.columns = dict(rows)
        self.rows = self.columns["target"].shape[0]
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world

    def steps(self) -> int:
        return -(-self.rows // self.batch_size)

    def single_process(self) -> TensorFeed:
        return TensorFeed(self.columns, self.batch_size, seed=self.seed)

    def epoch(self, number: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + number))
        mixed = {name: column[order] for name, column in self.columns.items()}
        for first in range(start * self.batch_size, self.rows, self.batch_size):
            share = (min(first + self.batch_size, self.rows) - first) // self.world
            begin = first + self.rank * share
            yield {name: column[begin : begin + share] for name, column in mixed.items()}
