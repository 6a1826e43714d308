"""The network that goes down to what an image shows and up to where it shows it."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from evergreen.models.base import Architecture, Batch, Inputs
from evergreen.models.vision import conv_norm_act, resize_like, round_to_multiple, stack_images

DEEPEST = 4  # halvings
SMALLEST = 2  # pixels: the side below which an image is not halved


class UNet(Architecture):
    """U-Net (Ronneberger et al. 2015), padded, normalised by batches (Ioffe and Szegedy 2015), free of checkerboards.

    On the way down the image becomes smaller and its channels more, so that a pixel knows what is far around it; on the
    way up what is known is enlarged and joined by what the same height held on the way down, so that edges stay where
    they are. Enlarging takes the nearest pixel and convolves, for transposed convolutions leave checkerboards (Odena et
    al. 2016). Norms by groups do not serve here: within an image they hide what all its pixels have in common.

    In: image (B, C, H, W), several on top of each other. Out: pixels (B, F, H, W), F = 16 · size and the images' own
    channels; pooled (B, F), a mean over the deepest layer, F = 16 · size · 2^halvings.
    Choose it for the class of every pixel, for boxes, and for mending images; the paper's widths are at size=4.
    At size=1: the digit of each pixel on textures, mean intersection over union 0.905 (validation rows of one split)
    after 4 epochs of 2457 images in 105 s of one core.
    """

    ACCEPTS = frozenset({"image"})
    LAYOUTS = ("pixels", "pooled")
    SEARCH_SPACE = {"learning_rate": (5e-4, 1e-2, "log"), "dropout": (0.0, 0.4), "size": [0.5, 1.0, 2.0]}
    DEFAULTS = {"learning_rate": 3e-3, "weight_decay": 0.01, "clip": 1.0, "ema": 0.98, "keep": "last"}

    def __init__(self, inputs: Inputs, *, size: float = 1.0, dropout: float = 0.0, layout: str = "pixels") -> None:
        super().__init__()
        self.names, width = list(inputs), round_to_multiple(16 * size, 8)
        channels = sum(field.shape[0] for field in inputs.values())
        side, halvings = min(next(iter(inputs.values())).shape[1:]), 0
        while side >= 2 * SMALLEST and halvings < DEEPEST:
            side, halvings = side // 2, halvings + 1
        widths = [width << step for step in range(halvings + 1)]
        self.down = nn.ModuleList([_double_conv(a, b) for a, b in pairwise([channels, *widths])])
        ups = [*reversed([*pairwise(widths)])] if layout == "pixels" else []
        self.narrow = nn.ModuleList([_conv(deep, wide) for wide, deep in ups])
        self.up = nn.ModuleList([_double_conv(2 * wide, wide) for wide, _ in ups])
        self.pool, self.dropout = nn.MaxPool2d(2), nn.Dropout(dropout)
        self.out_features = width + channels if layout == "pixels" else widths[-1]
        self.layout = layout

    def forward(self, batch: Batch) -> Tensor:
        image = x_BCHW = stack_images(batch, self.names)
        heights = []
        for number, layers in enumerate(self.down):
            x_BCHW = layers(self.pool(x_BCHW) if number else x_BCHW)
            heights.append(x_BCHW)
        x_BCHW = self.dropout(heights.pop())
        if self.layout == "pooled":
            return torch.mean(x_BCHW, (2, 3))
        for narrow, layers in zip(self.narrow, self.up, strict=True):
            x_BCHW = layers(torch.cat([narrow(resize_like(x_BCHW, heights[-1])), heights.pop()], 1))
        return torch.cat([x_BCHW, image], 1)


def _conv(inside: int, outside: int) -> nn.Sequential:
    return conv_norm_act(inside, outside, activation=nn.GELU, normal=nn.BatchNorm2d)


def _double_conv(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(_conv(inside, outside), _conv(outside, outside))
