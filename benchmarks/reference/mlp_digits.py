"""The multilayer perceptron on the digits, its training images turned, scaled, sheared and shifted."""

from __future__ import annotations

import numpy as np

from benchmarks.reference.protocol import digit_rows, digits, learn

BARS = {"accuracy": (">=", 0.985)}
SEEDS = range(5)
ARCHITECTURE = "mlp"
CHOSEN = {"size": 4, "dropout": 0.1, "weight_decay": 0.05, "epochs": 80}  # by the validation rows of two splits


def run(seed: int) -> dict[str, float]:
    learned = learn(ARCHITECTURE, "classification", digits(seed), "digit", seed=seed, augment=True, **CHOSEN)
    return {"accuracy": learned.metrics()["accuracy"], "sklearn_mlp": opponent(seed)}


def opponent(seed: int) -> float:
    """scikit-learn's MLP of 256 and 128 units, fitted on the same rows without variation."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    train, _, test = digit_rows(seed)
    model = MLPClassifier((256, 128), max_iter=300, random_state=seed).fit(x[train] / 16, y[train])
    return float(np.mean(model.predict(x[test] / 16) == y[test]))
