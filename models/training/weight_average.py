"""The mean of the weights of many steps, which is smoother than the weights of any one step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Mean of a network's floating-point state over the steps (Polyak and Juditsky 1992): exponential or even, as the
    shares say by which it is updated. `weights` is the live state_dict of the network."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.live = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
        self.mean = {name: tensor.clone() for name, tensor in self.live.items()}

    def begin(self) -> None:
        """Nothing is averaged yet: the mean is the weights of now."""
        for name, tensor in self.live.items():
            self.mean[name].copy_(tensor)

    def update(self, keep: float) -> None:
        """Takes in the weights of now, of which the mean becomes the share 1 - `keep`."""
        get_ema_multi_avg_fn(keep)(list(self.mean.values()), list(self.live.values()), torch.tensor(1))
