"""The multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.base import Architecture, Batch, Choice, Inputs
from models.layers import Flat, block


class MLP(Architecture):
    """Multilayer perceptron (Rumelhart et al. 1986) beside a linear path (wide and deep: Cheng et al. 2016).

    Layers of weighted sums and bends learn features that a linear model lacks. The inputs also go straight to the
    head, so that what is linear need not be learned twice.

    In: every kind, flattened, categories one-hot. Out: (B, F), F = 128 · size and the inputs' own numbers.
    Choose it for tables of some hundreds of rows and more, and as a quick first network for anything.
    At size=1: diabetes R² 0.430 in 1 s of one core, mean of 8 splits 60/20/20 (ridge 0.437); digits 0.979 in 1.4 s.
    """

    ACCEPTS = frozenset({"*"})
    SPACE: ClassVar[dict[str, Choice]] = {
        "learning_rate": (3e-4, 1e-2, "log"),
        "weight_decay": (1e-4, 1.0, "log"),
        "dropout": (0.0, 0.5),
        "size": [0.5, 1.0, 2.0],
    }

    RECIPE: ClassVar[dict[str, Any]] = {"learning_rate": 2e-3, "weight_decay": 0.5, "ema": 0.98, "keep": "last"}

    def __init__(self, inputs: Inputs, *, size: float = 1.0, depth: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        self.flat = Flat(inputs)
        width = max(4, round(128 * size))
        widths = [self.flat.width, *[width] * depth]
        self.layers = nn.Sequential(*(block(a, b, dropout) for a, b in pairwise(widths)))
        self.features = width + self.flat.width

    def forward(self, batch: Batch) -> Tensor:
        x_BD = self.flat(batch)
        return torch.cat([x_BD, self.layers(x_BD)], 1)
