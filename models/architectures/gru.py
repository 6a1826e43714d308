"""The gated recurrent network."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.base import Architecture, Batch, Choice, Inputs
from models.layers import sequence, sequence_width


class GRU(Architecture):
    """Gated recurrent units (Cho et al. 2014) that read both ways (Schuster and Paliwal 1997).

    A state is carried from step to step, and gates learn what of it to keep and what to replace. The features are the
    states at both ends.

    In: series (B, T, C), image (B, C, H, W) row by row. Out: (B, F), F = 128 · size for each input.
    Choose it for series whose order matters, from some hundreds of rows on.
    At size=1: digits 0.983 (mean of 3 splits) in 5 s of one core.
    """

    ACCEPTS = frozenset({"series", "image"})
    SPACE: ClassVar[dict[str, Choice]] = {
        "learning_rate": (5e-4, 1e-2, "log"),
        "dropout": (0.0, 0.5),
        "size": [0.5, 1.0, 2.0],
    }
    RECIPE: ClassVar[dict[str, Any]] = {"learning_rate": 5e-3, "clip": 1.0, "ema": 0.98, "keep": "last"}

    def __init__(self, inputs: Inputs, *, size: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        width = max(4, round(64 * size))
        self.readers = nn.ModuleDict(
            {
                name: nn.GRU(sequence_width(field), width, batch_first=True, bidirectional=True)
                for name, field in inputs.items()
            }
        )
        self.dropout = nn.Dropout(dropout)
        self.features = 2 * width * len(inputs)

    def forward(self, batch: Batch) -> Tensor:
        last = [reader(sequence(batch[name]))[1] for name, reader in self.readers.items()]  # each (2, B, D)
        x_BF: Tensor = self.dropout(torch.cat([h for h_2BD in last for h in h_2BD], 1))
        return x_BF
