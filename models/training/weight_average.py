"""Average the weights of many steps, which is smoother than the weights of any one step."""

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from evergreen.models.training.weight_sharding import local


class WeightAverage:
    """Average a network's floating-point state over the steps (Polyak and Juditsky 1992).

    The average is exponential or even, as the fractions say by which it is updated. `weights` is the live state_dict of
    the network.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.live = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
        self.mean = {name: tensor.clone() for name, tensor in self.live.items()}

    def reset(self) -> None:
        """Set the mean to the current weights."""
        for name, tensor in self.live.items():
            self.mean[name].copy_(tensor)

    def update(self, keep: float) -> None:
        """Add the current weights with the share 1 - `keep` of the mean."""
        mean, live = (list(map(local, weights.values())) for weights in (self.mean, self.live))
        get_ema_multi_avg_fn(keep)(mean, live, torch.tensor(1))
