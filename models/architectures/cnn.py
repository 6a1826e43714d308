"""The convolutional network."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.base import Architecture, Batch, Choice, Inputs


class CNN(Architecture):
    """Convolutional network (LeCun et al. 1998).

    Small filters slide over the input, so that a pattern is learned once for all places; pooling between them makes
    what they found coarser and steadier. One tower of three convolutions for each input, then one dense layer.

    In: image (B, C, H, W), series (B, T, C). Out: (B, F), F = 128 · size.
    Choose it for images, from some hundreds on, and for series with short patterns.
    At size=1: digits 0.994 (mean of 3 splits, 0.989 to 0.997) in 8 s of one core.
    """

    ACCEPTS = frozenset({"image", "series"})
    FIRST_FOR = frozenset({"image"})
    SPACE: ClassVar[dict[str, Choice]] = {
        "learning_rate": (5e-4, 1e-2, "log"),
        "dropout": (0.0, 0.6),
        "size": [0.5, 1.0, 2.0],
    }
    RECIPE: ClassVar[dict[str, Any]] = {"learning_rate": 3e-3, "weight_decay": 0.05, "ema": 0.98, "keep": "last"}

    def __init__(self, inputs: Inputs, *, size: float = 1.0, dropout: float = 0.4) -> None:
        super().__init__()
        width = max(4, round(32 * size))
        self.towers = nn.ModuleDict({name: _tower(field.shape, width) for name, field in inputs.items()})
        with torch.no_grad():
            example = {name: torch.zeros(1, *field.shape) for name, field in inputs.items()}
            flat = self._flat(example).shape[1]
        self.features = 4 * width
        self.mix = nn.Sequential(nn.Dropout(dropout), nn.Linear(flat, self.features), nn.GELU(), nn.Dropout(dropout))

    def forward(self, batch: Batch) -> Tensor:
        x_BF: Tensor = self.mix(self._flat(batch))
        return x_BF

    def _flat(self, batch: Batch) -> Tensor:
        parts = []
        for name, tower in self.towers.items():
            x = batch[name] if batch[name].ndim == 4 else batch[name].transpose(1, 2)  # (B, C, H, W) or (B, C, T)
            parts.append(tower(x).flatten(1))
        return torch.cat(parts, 1)


def _tower(shape: tuple[int, ...], width: int) -> nn.Sequential:
    """Three convolutions, the picture halved after the second and third while it is large enough."""
    image = len(shape) == 3
    conv = nn.Conv2d if image else nn.Conv1d
    pool = nn.MaxPool2d if image else nn.MaxPool1d
    channels, least = (shape[0], min(shape[1:])) if image else (shape[1], shape[0])
    layers: list[nn.Module] = [conv(channels, width, 3, padding=1), nn.GELU()]
    for inside, outside in ((width, width), (width, 2 * width)):
        layers += [conv(inside, outside, 3, padding=1), nn.GELU()]
        if least >= 4:
            layers.append(pool(2))
            least //= 2
    return nn.Sequential(*layers)
