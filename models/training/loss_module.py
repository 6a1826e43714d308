"""Wrap network and loss as the one module that data parallelism wraps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evergreen.core.errors import ModelError
from evergreen.models.base import Architecture, Batch
from evergreen.models.network import Network


class LossModule(nn.Module):
    """Return the loss from `forward`: gradients of calls past DDP's wrapper are not averaged over ranks.

    `mixup` is the α of Beta(α, α) by which rows are mixed in pairs (Zhang et al. 2018), 0 is off. A frozen architecture
    stays in evaluation mode, so that the statistics of its norms do not move either.
    """

    def __init__(self, network: Network, mixup: float = 0.0) -> None:
        super().__init__()
        self.network, self.mixup = network, mixup
        if mixup and type(network.architecture).loss is not Architecture.loss:
            name = type(network.architecture).__name__
            fix = "set mixup to 0"
            raise ModelError(f"{name} has its own loss, which mixup cannot be combined with", place="train", fix=fix)

    def forward(self, batch: Batch, group: str = "all") -> Tensor:
        """Return the scalar loss of one parameter group, a mean over the rows of the batch."""
        architecture, task = self.network.architecture, self.network.task
        if not self.mixup:
            return architecture.loss(batch, group, task)
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        other = torch.randperm(batch["target"].shape[0]).to(batch["target"].device)
        output, target = self.network(mixup_inputs(batch, share, other)), batch["target"]
        return share * task.loss(output, target) + (1 - share) * task.loss(output, target[other])

    def evaluate(self, rows: Batch) -> tuple[float, tuple[Tensor, Tensor]]:
        """Return the mean loss of rows, and what their metrics are computed from."""
        return self.network.evaluate(rows)

    def train(self, mode: bool = True) -> LossModule:
        """Set the mode, except of a frozen architecture."""
        super().train(mode)
        if not any(weights.requires_grad for weights in self.network.architecture.parameters()):
            self.network.architecture.eval()
        return self


def mixup_inputs(batch: Batch, share: float, other: Tensor) -> dict[str, Tensor]:
    """Mix each row's inputs with those of row `other`: `share` of its own, 1 - `share` of the other's."""
    inputs = {name: column for name, column in batch.items() if name != "target"}
    integer_inputs = [name for name, column in inputs.items() if not column.is_floating_point()]
    if integer_inputs:
        fix = "set mixup to 0, or leave the column out (`drop_columns`)"
        raise ModelError(f"mixup needs numbers, and {integer_inputs[0]!r} holds none", place="train", fix=fix)
    return {name: torch.lerp(column[other], column, share) for name, column in inputs.items()}
