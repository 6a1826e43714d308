"""The network that grows in depth and width at once."""

import math

from torch import Tensor, nn

from evergreen.models.base import FieldLike, Inputs
from evergreen.models.vision import ImageTowers, SpatialSize, conv_norm_act, round_to_multiple

NAMED = 4  # the size that is B0
DEEPER, WIDER = 1.2, 1.1  # for each doubling of size beyond it (Tan and Le 2019, section 3.3)
# of each stage of B0: how much wider within, side of the filter, stride, channels, blocks
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
FIRST, LAST = 32, 1280  # channels


class EfficientNet(ImageTowers):
    """EfficientNet (Tan and Le 2019), with normalisation by groups (Wu and He 2018).

    Cheap convolutions, one filter a channel, within a wide block whose channels are weighed by what the whole image
    shows. One dial makes depth and width grow together: each doubling of `size` is one step of the compound
    coefficient φ (depth 1.2^φ, width 1.1^φ); the images' own size is the pipeline's to say (`kinds`).

    size    network   φ     parameters at 224 px and 1000 classes
    below 4 B0 with all widths × size / 4 and one block a stage
    4       B0        0     5,288,548
    8       B2        1     9,109,994
    16      B3        2     12,255,408 (torchvision's, whose coefficients are rounded, has 12,233,232)

    In: image (B, C, H, W), below 64 px without the halving of the first layer. Out: (B, F), F = 320 · size for each
    image up to size 4, a mean over all places.
    Choose it where an answer must be cheap to compute on a processor, and images are many.
    At size=1: digits 0.969 (validation rows of one split, 15 epochs, augmented) in 14 s of one core.
    """

    def __init__(self, inputs: Inputs, *, size: float = 1.0, dropout: float = 0.2) -> None:
        towers = {name: _tower(field, size) for name, field in inputs.items()}
        super().__init__(towers, _wide(LAST, size) * len(inputs), dropout)


def _wide(channels: float, size: float) -> int:
    """Return the channels at this size: a multiple of 8 (4 when small), at most a tenth below the exact number."""
    if size < NAMED:
        return round_to_multiple(channels * size / NAMED)
    exact = channels * WIDER ** math.log2(size / NAMED)
    near = round_to_multiple(exact, 8)
    return near if near >= 0.9 * exact else near + 8


def _deep(blocks: int, size: float) -> int:
    return 1 if size < NAMED else math.ceil(blocks * DEEPER ** math.log2(size / NAMED) - 1e-9)


def _tower(field: FieldLike, size: float) -> nn.Sequential:
    sides, inside = SpatialSize(field.shape), _wide(FIRST, size)
    layers: list[nn.Module] = [
        conv_norm_act(field.shape[0], inside, 3, sides.stride(2) if sides.large else 1, activation=nn.SiLU)
    ]
    for wider, side, stride, channels, blocks in STAGES:
        outside = _wide(channels, size)
        for number in range(_deep(blocks, size)):
            layers.append(_Block(inside, outside, wider, side, sides.stride(1 if number else stride)))
            inside = outside
    return nn.Sequential(*layers, conv_norm_act(inside, _wide(LAST, size), 1, activation=nn.SiLU))


class _Block(nn.Module):
    """Widen, filter each channel alone, weigh the channels, narrow; added to the input where the shapes allow it."""

    def __init__(self, inside: int, outside: int, wider: int, side: int, stride: int) -> None:
        super().__init__()
        width = inside * wider
        widen = [conv_norm_act(inside, width, 1, activation=nn.SiLU)] if wider > 1 else []
        each = conv_norm_act(width, width, side, stride, groups=width, activation=nn.SiLU)
        self.body = nn.Sequential(
            *widen, each, SqueezeExcite(width, max(1, inside // 4)), conv_norm_act(width, outside, 1, activation=None)
        )
        self.added = inside == outside and stride == 1

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.body(x_BCHW)
        return x_BCHW + out if self.added else out


class SqueezeExcite(nn.Module):
    """Multiply each channel by a weight that follows from the means of all (Hu et al. 2018)."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.share = nn.Sequential(nn.Conv2d(width, narrow, 1), nn.SiLU(), nn.Conv2d(narrow, width, 1), nn.Sigmoid())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.mul(self.share(x_BCHW.mean((2, 3), keepdim=True)))
