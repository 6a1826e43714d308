"""The digits with 100 labels in all, ten a class: what augmentation is worth."""

from __future__ import annotations

import numpy as np

from benchmarks.reference.protocol import Tables, digits, learn, pixels

BARS = {"accuracy": (">=", 0.965)}
SEEDS = range(5)
ARCHITECTURE = "cnn"
LABELS = 100
CHOSEN = {"epochs": 300, "task_options": {"label_smoothing": 0.1}}  # by the validation rows of two splits


def run(seed: int) -> dict[str, float]:
    tables = few(seed)
    learned, plain = (
        learn(ARCHITECTURE, "classification", tables, "digit", seed=seed, keep="last", augment=augment, **CHOSEN)
        for augment in (True, False)
    )
    return {"accuracy": learned.metrics()["accuracy"], "without": plain.metrics()["accuracy"], "svc": svc(tables)}


def few(seed: int) -> Tables:
    """The splits of `digits`, of the training rows a hundred alone."""
    from sklearn.model_selection import train_test_split

    train, validation, test = digits(seed)
    y = train["digit"].to_numpy()
    chosen, _ = train_test_split(np.arange(len(y)), train_size=LABELS, stratify=y, random_state=seed)
    return train.take(chosen), validation, test


def svc(tables: Tables) -> float:
    """A support vector machine on the pixels."""
    from sklearn.svm import SVC

    (x, y), _, (x_test, y_test) = ((pixels(table), table["digit"].to_numpy()) for table in tables)
    return float(SVC(C=10).fit(x, y).score(x_test, y_test))
