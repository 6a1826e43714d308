"""A gated recurrent network reads digits row by row, both ways, with a state of 128 numbers each."""

from __future__ import annotations

from benchmarks.reference.protocol import digits, learn

BARS = {"accuracy": (">=", 0.985)}
SEEDS = range(5)
ARCHITECTURE = "gru"
OPTIONS = {"size": 2.0, "augment": True}  # chosen by the validation rows


def run(seed: int) -> dict[str, float]:
    learned = learn(ARCHITECTURE, "classification", digits(seed), "digit", seed=seed, **OPTIONS)
    return {"accuracy": learned.metrics()["accuracy"]}
