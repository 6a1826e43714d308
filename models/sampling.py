"""Draw samples by seed, on a condition, within the range of the data; for architectures that generate."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from evergreen.models.base import Batch, Inputs
from evergreen.models.layers import FlattenInputs

STEP, FIRST, SECOND = (  # of the generator of Steele et al. 2014, as signed whole numbers
    value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def seeded_normal(seed_B: Tensor, width: int) -> Tensor:
    """Return standard normal numbers (B, width), each row a function of its seed: SplitMix64 (Steele et al. 2014).

    The same seed gives the same row in every batch, process and machine, which torch's generators do not promise.
    """
    place = torch.arange(1, width + 1, device=seed_B.device)
    x = _mixed(seed_B.long()[:, None] * STEP + FIRST) + place * STEP
    uniform = (((_mixed(x) >> 11) & ((1 << 53) - 1)).double() + 0.5) / (1 << 53)  # within (0, 1)
    normal: Tensor = torch.special.ndtri(uniform)
    return normal.float()


def _mixed(x: Tensor) -> Tensor:
    """Mix all bits of x (B, …) into each bit of the result; products wrap around."""
    for shift, factor in ((30, FIRST), (27, SECOND)):
        x = (x ^ _right(x, shift)) * factor
    return x ^ _right(x, 31)


def _right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


class Condition(nn.Module):
    """Flatten what a sample is conditioned on, (B, width): all inputs but the seed; width 0 if there are none."""

    __call__: Callable[..., Tensor]

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.seed = next((name for name, field in inputs.items() if field.kind == "seed"), "")
        others = {name: field for name, field in inputs.items() if field.kind != "seed"}
        self.flat = FlattenInputs(others) if others else None
        self.width = self.flat.width if self.flat else 0

    def forward(self, batch: Batch) -> Tensor:
        return self.flat(batch) if self.flat else torch.zeros(len(batch[self.seed]), 0).to(batch[self.seed].device)

    def draw(self, batch: Batch, width: int) -> Tensor:
        """Return normal numbers (B, width) by each row's seed; without a seed the mode: zeros."""
        if self.seed:
            return seeded_normal(batch[self.seed], width)
        first = next(iter(batch.values()))
        return torch.zeros(len(first), width, device=first.device)


class MinMaxScaler(nn.Module):
    """Scale values from the range of the training rows to 0…1 and back."""

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(-2.0))
        self.register_buffer("high", torch.tensor(2.0))

    def fit(self, values: Iterable[Tensor]) -> None:
        """Take the minimum and the maximum of all values."""
        ends = [torch.stack(x.aminmax()) for x in values]
        low_high = torch.stack(ends)
        self.low.copy_(low_high[:, 0].min())
        self.high.copy_(torch.maximum(low_high[:, 1].max(), self.low + 1e-6))

    def transform(self, x: Tensor) -> Tensor:
        """Return values as fractions of the range, clipped to 0…1."""
        return ((x - self.low) / (self.high - self.low)).clamp(0, 1)

    def inverse_transform(self, share: Tensor) -> Tensor:
        """Return fractions of the range as values."""
        return self.low + share * (self.high - self.low)
