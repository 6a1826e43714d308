"""Named networks at 224 pixels and 1000 classes have exactly the parameters of those whose names they bear."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from evergreen.models.registry import build

NAMED = {  # case: architecture, size, parameters as torchvision counts them
    "alexnet": ("cnn", 8, 61_100_840),
    "vgg_11": ("cnn", 16, 132_863_336),
    "resnet_18": ("resnet", 4, 11_689_512),
    "resnet_50": ("resnet", 8, 25_557_032),
    "efficientnet_b0": ("efficientnet", 4, 5_288_548),
    "vit_b_16": ("vit", 12, 86_567_656),
    "googlenet": ("inception", 4, 13_004_888),
}
BARS = {f"{name}_difference": ("<=", 0) for name in NAMED}
SEEDS = range(1)
ARCHITECTURE = "cnn, resnet, efficientnet, vit, inception"


@dataclass(frozen=True)
class Field:
    kind: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)


def run(seed: int) -> dict[str, float]:
    """How many parameters too many or too few, without a sign; the tensors have shapes but no memory."""
    inputs = {"image": Field("image", (3, 224, 224))}
    target = Field("category", (), (1000,), {"values": [list(range(1000))]})
    found = {}
    with torch.device("meta"):
        for name, (architecture, size, count) in NAMED.items():
            made = build(architecture, "classification", inputs, target, size=size)
            found[f"{name}_difference"] = float(abs(sum(one.numel() for one in made.parameters()) - count))
    return found
