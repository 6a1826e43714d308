"""The one module that data parallelism wraps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evergreen.core.errors import ModelError
from evergreen.models.base import Architecture, Batch
from evergreen.models.network import Network


class LossModule(nn.Module):
    """Its forward is the loss: gradients of a call that goes past DDP's wrapper would not be averaged over ranks.

    `mixup` is the α of Beta(α, α) by which rows are mixed in pairs (Zhang et al. 2018), 0 is off. An architecture that
    is frozen stays in evaluation mode, so that what its norms have learned does not move either.
    """

    def __init__(self, network: Network, mixup: float = 0.0) -> None:
        super().__init__()
        self.network, self.mixup = network, mixup
        if mixup and type(network.architecture).loss is not Architecture.loss:
            name = type(network.architecture).__name__
            raise ModelError(f"{name} has a loss of its own, mixup is not for it", place="train", fix="set mixup to 0")

    def forward(self, batch: Batch, group: str = "all") -> Tensor:
        """The scalar loss of one parameter group, a mean over the rows of the batch."""
        architecture, task = self.network.architecture, self.network.task
        if not self.mixup:
            return architecture.loss(batch, group, task)
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        other = torch.randperm(batch["target"].shape[0]).to(batch["target"].device)
        output, target = self.network(mixup_inputs(batch, share, other)), batch["target"]
        loss: Tensor = share * task.loss(output, target) + (1 - share) * task.loss(output, target[other])
        return loss

    def train(self, mode: bool = True) -> LossModule:
        super().train(mode)
        if not any(weights.requires_grad for weights in self.network.architecture.parameters()):
            self.network.architecture.eval()
        return self


def mixup_inputs(batch: Batch, share: float, other: Tensor) -> dict[str, Tensor]:
    """Each row's inputs, of which `share` is its own and the rest that of the row `other` names."""
    inputs = {name: column for name, column in batch.items() if name != "target"}
    whole = [name for name, column in inputs.items() if not column.is_floating_point()]
    if whole:
        fix = "set mixup to 0, or ignore the column"
        raise ModelError(f"mixup needs numbers to mix, and {whole[0]!r} holds none", place="train", fix=fix)
    return {name: torch.lerp(column[other], column, share) for name, column in inputs.items()}
