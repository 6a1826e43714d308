"""An architecture and a task's head, joined."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from models.base import Architecture, Batch, Task


class Network(nn.Module):
    """An architecture and a task's head, joined: batch → the head's output."""

    def __init__(self, architecture: Architecture, task: Task) -> None:
        super().__init__()
        self.architecture, self.task = architecture, task

    def forward(self, batch: Batch) -> Tensor:
        output: Tensor = self.task(self.architecture(batch))
        return output

    def answer(self, rows: Batch) -> list[dict[str, Any]]:
        """The task's answer to each row, in evaluation mode."""
        return self.task.reply(self, rows)

    def groups(self) -> dict[str, list[Parameter]]:
        """The architecture's parameter groups, the head's parameters included."""
        return self.architecture.groups(self.task)

    @torch.no_grad()
    def outputs(self, rows: Batch, at_once: int = 1024) -> Tensor:
        """The head's output for any number of rows, in evaluation mode; the mode is put back afterwards."""
        inputs = {name: column for name, column in rows.items() if name != "target"}
        with _evaluating(self):
            return torch.cat([self(chunk) for chunk in _chunks(inputs, at_once)])

    @torch.no_grad()
    def loss(self, rows: Batch, output: Tensor, at_once: int = 1024) -> float:
        """The mean loss of rows whose output is known: the task's, or the first group's of the architecture."""
        if self.task.LOSS:
            return float(self.task.loss(output, rows["target"]))
        group = next(iter(self.groups()))
        with _evaluating(self):
            parts = [
                (self.architecture.loss(chunk, group, self.task), len(chunk["target"]))
                for chunk in _chunks(rows, at_once)
            ]
        return sum(float(loss) * count for loss, count in parts) / sum(count for _, count in parts)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def _chunks(rows: Batch, at_once: int) -> Iterator[dict[str, Tensor]]:
    parts = {name: column.split(at_once) for name, column in rows.items()}
    for chunk in zip(*parts.values(), strict=True):
        yield dict(zip(parts, chunk, strict=True))
