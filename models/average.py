"""The running mean of the weights, which is smoother than the weights of any one step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """Exponential moving average of a network's floating-point state (Polyak and Juditsky 1992).

    `weights` is the live state_dict of the network; `keep` the share of the mean that a step keeps.
    """

    def __init__(self, weights: dict[str, Tensor], keep: float) -> None:
        self.live = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
        self.mean = {name: tensor.clone() for name, tensor in self.live.items()}
        self.keep = keep

    def update(self, step: int) -> None:
        """Takes in the weights after `step`; a young average keeps less, to forget the random first weights."""
        keep = min(self.keep, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(keep)(list(self.mean.values()), list(self.live.values()), torch.tensor(step))
