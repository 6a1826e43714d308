"""The vision Transformer."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.models.base import Architecture, Batch, FieldLike, Inputs

HEAD = 64  # width of one head from size 3 on
DEPTHS = ((16, 24), (3, 12), (0, 4))  # from size on: layers


class ViT(Architecture):
    """Vision Transformer (Dosovitskiy et al. 2021).

    An image is cut into patches, and every patch looks at every other and takes from those that matter to it; where a
    patch lies is learned with the rest. The features are the mean over the patches and a class token.

    size    network     parameters at 224 px and 1000 classes
    below 3 4 layers, width 64 · size, 4 heads
    3       ViT-Ti/16   5,717,416
    6       ViT-S/16    22,050,664
    12      ViT-B/16    86,567,656
    16      ViT-L/16    304,326,632

    In: image (B, C, H, W), in patches of 16 px, of an eighth of the side where it is below 128. Out: (B, F),
    F = 64 · size for each image.
    Choose it from some ten thousand images on; below some thousands the CNN is better and faster.
    At size=1: digits, see `vit_digits` in benchmarks/REFERENCE.md.
    """

    ACCEPTS = frozenset({"image"})
    SEARCH_SPACE = {"learning_rate": (3e-4, 5e-3, "log"), "dropout": (0.0, 0.4), "size": [0.5, 1.0, 2.0]}
    DEFAULTS = {"learning_rate": 2e-3, "weight_decay": 0.05, "clip": 1.0, "ema": 0.98, "keep": "last"}

    def __init__(self, inputs: Inputs, *, size: float = 1.0, dropout: float = 0.1) -> None:
        super().__init__()
        depth = next(layers for least, layers in DEPTHS if size >= least)
        heads = max(1, round(64 * size / HEAD)) if size >= 3 else 4
        width = HEAD * heads if size >= 3 else 4 * max(1, round(16 * size))
        towers = {name: _Tower(field, width, depth, heads, dropout) for name, field in inputs.items()}
        self.towers = nn.ModuleDict(towers)
        self.out_features = width * len(inputs)

    def forward(self, batch: Batch) -> Tensor:
        return torch.cat([tower(batch[name]) for name, tower in self.towers.items()], 1)


class _Tower(nn.Module):
    """Turn an image (B, C, H, W) into one vector (B, D)."""

    def __init__(self, field: FieldLike, width: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        channels, *sides = field.shape
        self.patch = _patch(min(sides))
        self.take = nn.Conv2d(channels, width, self.patch, self.patch)
        patches = -(-sides[0] // self.patch) * -(-sides[1] // self.patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, 1 + patches, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True, layer_norm_eps=1e-6
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width, eps=1e-6), enable_nested_tensor=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = x_BCHW.shape[2:]
        rest = (0, -width % self.patch, 0, -height % self.patch)  # a patch at the rim may reach beyond the image
        x_BLD = self.take(functional.pad(x_BCHW, rest)).flatten(2).transpose(1, 2)
        x_BLD = torch.cat([self.token.expand(x_BLD.shape[0], -1, -1), x_BLD], 1) + self.place
        return torch.mean(self.encoder(x_BLD), 1)


def _patch(side: int) -> int:
    """Return 16, or the power of two that is an eighth of the side or less, at least 2 where that fits."""
    return min(side, max(2, min(16, 1 << max(0, (side // 8).bit_length() - 1))))
