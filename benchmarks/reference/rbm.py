"""A restricted Boltzmann machine of 100 units with logistic regression on top; training digits alone are nudged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.reference.protocol import Tables, digit_rows, images, learn, pixels

BARS = {"accuracy": (">=", 0.942)}
SEEDS = range(5)
ARCHITECTURE = "rbm"
OPTIONS: dict[str, Any] = {"supervised": False, "epochs": 20}
MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # pixels down and right


def run(seed: int) -> dict[str, float]:
    """Accuracy on test images as they are; beside it logistic regression and an SVC on the pixels of the same rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    train, validation, test = tables(seed)
    found = learn("rbm", "classification", (train, validation, test), "digit", seed=seed, **OPTIONS)
    (x, y), (x_test, y_test) = _flat(train), _flat(test)
    return {
        "accuracy": found.metrics()["accuracy"],
        "logistic_on_pixels": float(LogisticRegression(max_iter=200).fit(x, y).score(x_test, y_test)),
        "svc_on_pixels": float(SVC(C=10.0).fit(x, y).score(x_test, y_test)),
    }


def tables(seed: int) -> Tables:
    """Each training image five times: as it is and moved by one pixel in each direction; no image is in two splits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    parts = [(digits.images[rows], digits.target[rows]) for rows in digit_rows(seed)]
    (x, y), *others = parts
    train = images(_nudged(x), np.tile(y, len(MOVES)))
    return train, *(images(x, y) for x, y in others)  # type: ignore[return-value]


def _nudged(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    return np.concatenate([padded[:, 1 - down : 9 - down, 1 - right : 9 - right] for down, right in MOVES])


def _flat(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    return pixels(table) / 16, table.column("digit").to_numpy()
