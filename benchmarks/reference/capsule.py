"""The capsule network on the digits: classes, and each test image drawn again from its class's capsule."""

from __future__ import annotations

from typing import cast

import torch

from benchmarks.reference.protocol import Learned, digits, learn
from evergreen.models.architectures.capsule import Capsule

BARS = {"accuracy": (">=", 0.987), "redrawn_db": (">=", 14.8)}
SEEDS = range(5)
ARCHITECTURE = "capsule"


def run(seed: int) -> dict[str, float]:
    learned = learn(ARCHITECTURE, "classification", digits(seed), "digit", seed=seed, augment=True)
    return {"accuracy": learned.metrics()["accuracy"], "redrawn_db": redrawn(learned)}


@torch.no_grad()
def redrawn(learned: Learned) -> float:
    """Return the peak signal-to-noise ratio of test images drawn from the predicted class's capsule; the peak is 16."""
    network = learned.network.eval()
    capsules = cast(Capsule, network.architecture)
    found = capsules.capsules(learned.test)
    chosen = torch.nn.functional.one_hot(network(learned.test).argmax(1), found.shape[1])
    error = capsules.reconstruct(found, chosen) - learned.test["image"].flatten(1)
    std = learned.spec.inputs["image"].state["std"][0]
    return float(10 * torch.log10(1 / (error * std / 16).square().mean()))
