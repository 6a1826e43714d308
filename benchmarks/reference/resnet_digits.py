"""The residual network on the digits, its training images turned, scaled, sheared and shifted."""

from __future__ import annotations

from benchmarks.reference.cnn_digits import neighbours
from benchmarks.reference.protocol import digits, learn

BARS = {"accuracy": (">=", 0.995)}
SEEDS = range(5)
ARCHITECTURE = "resnet"
CHOSEN = {"epochs": 40}


def run(seed: int) -> dict[str, float]:
    learned = learn(
        ARCHITECTURE, "classification", digits(seed), "digit", seed=seed, augment=True, refit=True, **CHOSEN
    )
    return {"accuracy": learned.metrics()["accuracy"], "three_nearest_neighbours": neighbours(seed)}
