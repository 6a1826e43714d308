"""Is it an 8? Twenty 8s to learn from, among all the other digits: average precision of the rare class."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from benchmarks.reference.protocol import Tables, digits, learn, pixels

BARS = {"average_precision": (">=", 0.945)}
SEEDS = range(5)
ARCHITECTURE = "cnn"
POSITIVES = 20


def run(seed: int) -> dict[str, float]:
    tables = rare(seed)
    options = {"class_weights": "balanced"}
    learned = learn(ARCHITECTURE, "classification", tables, "eight", seed=seed, augment=True, task_options=options)
    return {"average_precision": learned.metrics()["average_precision"], "svc": svc(tables)}


def rare(seed: int) -> Tables:
    """The splits of `digits`, of the training rows twenty 8s alone; validation and test rows as they come."""
    train, *others = digits(seed)
    eights = np.flatnonzero(train["digit"].to_numpy() == 8)
    left_out = np.random.default_rng(seed).permutation(eights)[POSITIVES:]
    kept = np.setdiff1d(np.arange(len(train)), left_out)
    return tuple(_asked(table) for table in (train.take(kept), *others))  # type: ignore[return-value]


def _asked(table: pa.Table) -> pa.Table:
    return pa.table({"image": table["image"], "eight": table["digit"].to_numpy() == 8})


def svc(tables: Tables) -> float:
    """A support vector machine on the pixels."""
    from sklearn.metrics import average_precision_score
    from sklearn.svm import SVC

    (x, y), _, (x_test, y_test) = ((pixels(table), table["eight"].to_numpy()) for table in tables)
    return float(average_precision_score(y_test, SVC(C=10).fit(x, y).decision_function(x_test)))
