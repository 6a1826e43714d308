"""Run a model over rows in chunks that fit into memory."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from evergreen.models.base import Batch

ROWS = 1024  # at once, at most
NUMBERS = 1 << 24  # that rows and their outputs may hold at once, 64 MiB of float32
PredictFn = Callable[[Batch], Tensor]  # rows → outputs, (B, …) each


def iter_chunks(predict: PredictFn, rows: Batch, *, in_one_chunk: bool = False) -> Iterator[tuple[Batch, Tensor]]:
    """Yield rows in chunks, each with what `predict` returns for it.

    With `in_one_chunk` all rows come in one chunk, for tasks that compare each row with all others.
    """
    if in_one_chunk:
        yield rows, torch.cat([output for _, output in iter_chunks(predict, rows)])
        return
    first_row = {name: column[:1] for name, column in rows.items()}
    numbers = sum(column.numel() for column in (*first_row.values(), _outputs(predict, first_row)))
    columns = {name: column.split(max(1, min(ROWS, NUMBERS // numbers))) for name, column in rows.items()}
    for chunk in zip(*columns.values(), strict=True):
        batch = dict(zip(columns, chunk, strict=True))
        yield batch, _outputs(predict, batch)


def _outputs(predict: PredictFn, rows: Batch) -> Tensor:
    with torch.no_grad():
        return predict(rows)
