"""The convolutional network on the digits, its training images turned, scaled, sheared and shifted."""

from __future__ import annotations

from benchmarks.reference.protocol import digit_rows, digits, learn

BARS = {"accuracy": (">=", 0.995)}
SEEDS = range(5)
ARCHITECTURE = "cnn"
CHOSEN = {"epochs": 40}


def run(seed: int) -> dict[str, float]:
    learned = learn(
        ARCHITECTURE, "classification", digits(seed), "digit", seed=seed, augment=True, refit=True, **CHOSEN
    )
    return {"accuracy": learned.metrics()["accuracy"], "three_nearest_neighbours": neighbours(seed)}


def neighbours(seed: int) -> float:
    """The vote of the three nearest images, of those that the network may see."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    x, y = load_digits(return_X_y=True)
    train, validation, test = digit_rows(seed)
    seen = np.concatenate([train, validation])
    return float(KNeighborsClassifier(3).fit(x[seen], y[seen]).score(x[test], y[test]))
