"""One layer of threshold units on the digits, by Rosenblatt's rule and by logistic loss; exclusive or defeats it."""

from __future__ import annotations

import pyarrow as pa

from benchmarks.reference.protocol import digits, learn

BARS = {"rosenblatt_accuracy": (">=", 0.949), "logistic_accuracy": (">=", 0.965), "xor_accuracy": ("<=", 0.75)}
SEEDS = range(5)
ARCHITECTURE = "perceptron"


def run(seed: int) -> dict[str, float]:
    found = {
        f"{rule}_accuracy": learn(
            ARCHITECTURE, "classification", digits(seed), "digit", seed=seed, rule=rule, refit=True
        ).metrics()["accuracy"]
        for rule in ("rosenblatt", "logistic")
    }
    truth = pa.table({"a": [0.0, 0.0, 1.0, 1.0] * 25, "b": [0.0, 1.0] * 50, "differ": [False, True, True, False] * 25})
    xor = [
        learn(ARCHITECTURE, "classification", (truth, truth, truth), "differ", seed=seed, rule=rule)
        for rule in ("rosenblatt", "logistic")
    ]
    return found | {"xor_accuracy": max(one.metrics()["accuracy"] for one in xor)} | opponents(seed)


def opponents(seed: int) -> dict[str, float]:
    """scikit-learn's, fitted on the same rows."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression, Perceptron

    from benchmarks.reference.protocol import digit_rows

    x, y = load_digits(return_X_y=True)
    train, validation, test = digit_rows(seed)
    seen = np.concatenate([train, validation])
    models = {"sklearn_perceptron": Perceptron(random_state=seed), "sklearn_logistic": LogisticRegression(max_iter=500)}
    return {
        name: float(model.fit(x[seen] / 16, y[seen]).score(x[test] / 16, y[test])) for name, model in models.items()
    }
