"""Join an architecture and a task's head."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from evergreen.models.base import Architecture, Batch, Task
from evergreen.models.chunked import iter_chunks


class Network(nn.Module):
    """Join an architecture and a task's head: batch → the head's output."""

    __call__: Callable[..., Tensor]

    def __init__(self, architecture: Architecture, task: Task) -> None:
        super().__init__()
        self.architecture, self.task = architecture, task

    def forward(self, batch: Batch) -> Tensor:
        if self.architecture.n_members == 1:
            return self.task(self.architecture(batch))
        x_BMF = self.architecture.members(batch)
        return self.task.average(torch.unflatten(self.task(x_BMF.flatten(0, 1)), 0, x_BMF.shape[:2]))

    def predict(self, rows: Batch) -> list[dict[str, Any]]:
        """Return the task's answer to each row; the network has to be in evaluation mode."""
        return self.task.predict(self, rows)

    def groups(self) -> dict[str, list[Parameter]]:
        """Return the architecture's parameter groups, the head's parameters among them."""
        return self.architecture.groups(self.task)

    @torch.no_grad()
    def predict_outputs(self, rows: Batch) -> Tensor:
        """Return the head's output for rows, in evaluation mode and without their target; the mode is restored."""
        with _evaluating(self):
            output = self({name: column for name, column in rows.items() if name != "target"})
        return output.float() if output.is_floating_point() else output

    def compute_outputs(self, rows: Batch) -> Tensor:
        """Return the head's outputs for any number of rows, computed in chunks."""
        return torch.cat([output for _, output in iter_chunks(self.predict_outputs, rows)])

    @torch.no_grad()
    def compute_features(self, rows: Mapping[str, Any]) -> Tensor:
        """Return the features (N, F) of rows, in evaluation mode; those of steps or pixels are averaged."""
        inputs = {name: torch.as_tensor(column) for name, column in rows.items() if name != "target"}
        with _evaluating(self):
            return torch.cat([_pooled(x) for _, x in iter_chunks(self.architecture, inputs)]).float()

    def evaluate(self, rows: Batch) -> tuple[float, tuple[Tensor, Tensor]]:
        """Return the mean loss of rows, and what their metrics are computed from."""
        losses, facts = [], []
        for chunk, output in iter_chunks(self.predict_outputs, rows, in_one_chunk=self.task.NEEDS_ALL_OUTPUTS):
            losses.append(self._loss(chunk, output) * len(output))
            facts.append(self.task.metric_inputs(output, chunk["target"]))
        first, second = zip(*facts, strict=True)
        return sum(losses) / len(rows["target"]), (torch.cat(first), torch.cat(second))

    def calibrate(self, rows: Mapping[str, Any]) -> dict[str, float]:
        """Let the task make probabilities hold on rows that were not learned from; return what that did."""
        if not self.task.HAS_PROBABILITIES:
            return {}
        _, facts = self.evaluate({name: torch.as_tensor(column) for name, column in rows.items()})
        return self.task.calibrate_probabilities(*facts)

    @torch.no_grad()
    def _loss(self, rows: Batch, output: Tensor) -> float:
        """Return the task's loss, or that of the architecture's first group where the task has none."""
        with _evaluating(self):
            if self.task.HAS_LOSS:
                return float(self.task.loss(output, rows["target"]))
            return float(self.architecture.loss(rows, next(iter(self.groups())), self.task))


def _pooled(x: Tensor) -> Tensor:
    if x.ndim == 4:
        return x.mean((2, 3))
    return x.mean(1) if x.ndim == 3 else x[:, None] if x.ndim == 1 else x


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
