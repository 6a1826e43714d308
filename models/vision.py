"""Share norms, convolutions and the arithmetic of sizes among networks for images."""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.models.base import Architecture, Batch

LEAST = 2  # pixels: a side that is not longer is not halved any more
LARGE = 64  # pixels: from here on the first layers halve an image twice, as networks for photographs do


class ImageTowers(Architecture):
    """Run a tower of convolutions on each image, (B, C, H, W) → (B, F', H', W'), and average over all places."""

    ACCEPTS = frozenset({"image"})
    SEARCH_SPACE = {"learning_rate": (5e-4, 1e-2, "log"), "dropout": (0.0, 0.5), "size": [0.5, 1.0, 2.0]}
    DEFAULTS = {"learning_rate": 3e-3, "weight_decay": 0.05, "clip": 1.0, "ema": 0.98, "keep": "last"}

    def __init__(self, towers: Mapping[str, nn.Module], out_features: int, dropout: float) -> None:
        super().__init__()
        self.towers, self.dropout, self.out_features = nn.ModuleDict(towers), nn.Dropout(dropout), out_features

    def forward(self, batch: Batch) -> Tensor:
        parts = [tower(batch[name]).mean((2, 3)) for name, tower in self.towers.items()]
        x_BF: Tensor = self.dropout(torch.cat(parts, 1))
        return x_BF


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalize by groups of sixteen channels (Wu and He 2018); smaller groups lose what all places share.

    It does not mix rows: any batch size and any number of ranks learn the same. It has the parameters of a batch norm.
    """
    return nn.GroupNorm(math.gcd(max(1, channels // 16), channels), channels)


def conv_norm_act(
    inside: int,
    outside: int,
    side: int | tuple[int, int] = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = nn.ReLU,
    normal: Callable[[int], nn.Module] = group_norm,
) -> nn.Sequential:
    """Build convolution, norm and activation: (B, inside, H, W) → (B, outside, ⌈H / stride⌉, ⌈W / stride⌉)."""
    padding = (side // 2) if isinstance(side, int) else (side[0] // 2, side[1] // 2)
    layers: list[nn.Module] = [nn.Conv2d(inside, outside, side, stride, padding, groups=groups, bias=False)]
    layers.append(normal(outside))
    return nn.Sequential(*layers, activation()) if activation else nn.Sequential(*layers)


def round_to_multiple(width: float, by: int = 4) -> int:
    """Return the nearest multiple of `by`, at least `by`."""
    return by * max(1, int(width / by + 0.5))


class SpatialSize:
    """Track the height and width of an image through a network, so that small images are not halved further."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.height, self.width = shape[1:]
        self.large = min(self.height, self.width) >= LARGE

    def stride(self, wanted: int) -> int:
        """Return the stride of the next layer: `wanted` if the image is large enough for it, else 1."""
        taken = wanted if min(self.height, self.width) > LEAST else 1
        self.height, self.width = -(-self.height // taken), -(-self.width // taken)
        return taken


def resize_like(x_BCHW: Tensor, other: Tensor) -> Tensor:
    """Enlarge x to the other's height and width by nearest neighbours.

    A convolution after it leaves no checkerboard artifacts, as transposed convolutions do (Odena et al. 2016).
    """
    return x_BCHW if x_BCHW.shape[2:] == other.shape[2:] else functional.interpolate(x_BCHW, tuple(other.shape[2:]))


def stack_images(batch: Batch, names: Iterable[str]) -> Tensor:
    """Stack all images along the channels, (B, ΣC, H, W), in the size of the first."""
    images = [batch[name] for name in names]
    size = tuple(images[0].shape[2:])
    sized = [x if tuple(x.shape[2:]) == size else functional.interpolate(x, size, mode="bilinear") for x in images]
    return sized[0] if len(sized) == 1 else torch.cat(sized, 1)
