"""Is a tumour malignant? A quarter of the 569 rows to test, the rest to learn from."""

from __future__ import annotations

import numpy as np

from benchmarks.reference.protocol import learn, quarters

BARS = {"accuracy": (">=", 0.975), "auc": (">=", 0.994)}
SEEDS = range(5)
ARCHITECTURE = "mlp"
CHOSEN = {"size": 0.5, "depth": 1, "weight_decay": 1.5}  # by cross-validation within the training rows


def run(seed: int) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression

    tables = quarters("breast_cancer", "diagnosis", seed, by_class=True)
    learned = learn(ARCHITECTURE, "classification", tables, "diagnosis", seed=seed, refit=True, **CHOSEN)
    metrics, test = learned.metrics(), learned.test
    x, y = (
        np.concatenate([part[name] for part in (learned.train, learned.validation)]) for name in ("number", "target")
    )
    beside = float(LogisticRegression(max_iter=1000).fit(x, y).score(test["number"], test["target"]))
    return {"accuracy": metrics["accuracy"], "auc": metrics["auc"], "sklearn_logistic": beside}
