"""Many rows, and what is said to them, a few at a time: the outputs of all of them need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from evergreen.models.base import Batch

ROWS = 1024  # at once, at most
NUMBERS = 1 << 24  # that rows and their outputs may hold at once, 64 MiB of float32
PredictFn = Callable[[Batch], Tensor]  # rows → outputs, (B, …) each


def iter_chunks(say: PredictFn, rows: Batch, *, whole: bool = False) -> Iterator[tuple[Batch, Tensor]]:
    """Some of the rows and what `say` says to them, until all have had their turn. With `whole` all rows come at once,
    for who compares each with every other."""
    if whole:
        yield rows, torch.cat([output for _, output in iter_chunks(say, rows)])
        return
    one = {name: column[:1] for name, column in rows.items()}
    numbers = sum(column.numel() for column in (*one.values(), _said(say, one)))
    columns = {name: column.split(max(1, min(ROWS, NUMBERS // numbers))) for name, column in rows.items()}
    for chunk in zip(*columns.values(), strict=True):
        some = dict(zip(columns, chunk, strict=True))
        yield some, _said(say, some)


def _said(say: PredictFn, rows: Batch) -> Tensor:
    with torch.no_grad():
        return say(rows)
