"""Is a tumour malignant? A quarter of the 569 rows to test; the rest is learned from, a fifth of it to choose by."""

from __future__ import annotations

from benchmarks.reference.protocol import learn, quarters

BARS = {"accuracy": (">=", 0.975), "auc": (">=", 0.994)}
SEEDS = range(5)
ARCHITECTURE = "linear"


def run(seed: int) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    tables = quarters("breast_cancer", "diagnosis", seed)
    learned = learn(ARCHITECTURE, "classification", tables, "diagnosis", seed=seed, refit=True)
    metrics = learned.metrics()
    seen, test = learned.seen(), learned.test
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(seen["number"], seen["target"])
    beside = float(model.score(test["number"], test["target"]))
    return {"accuracy": metrics["accuracy"], "auc": metrics["auc"], "sklearn_logistic": beside}
