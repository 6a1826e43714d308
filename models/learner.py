"""The one module that data parallelism wraps."""

from __future__ import annotations

from torch import Tensor, nn

from models.base import Batch, Network


class Learner(nn.Module):
    """Its forward is the loss: gradients of a call that goes past DDP's wrapper would not be averaged over ranks."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, group: str = "all") -> Tensor:
        """The scalar loss of one parameter group, a mean over the rows of the batch."""
        return self.network.architecture.loss(batch, group, self.network.task)
