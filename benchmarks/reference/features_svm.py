"""A support vector machine on a CNN's features against one on the pixels: what the features are worth."""

import numpy as np

from benchmarks.reference.protocol import digits, learn
from evergreen.stages.validate.svm import fit_svm

BARS = {"lead_over_pixels": (">=", 0.005)}
SEEDS = range(5)
ARCHITECTURE = "cnn"


def run(seed: int) -> dict[str, float]:
    """Both machines have the same kernel, learn from the same rows and choose their penalty by the same others."""
    made = learn(ARCHITECTURE, "classification", digits(seed), "digit", seed=seed, augment=True)
    train, validation, test = (
        {name: column.numpy() for name, column in rows.items()} for rows in (made.train, made.validation, made.test)
    )
    said = fit_svm(made.network, made.spec, train, validation, test)
    assert said is not None
    features = float((said.argmax(axis=1) == test["target"]).mean())
    pixels = pixel_svm(train, validation, test)
    return {
        "lead_over_pixels": features - pixels,
        "svm_on_features": features,
        "svm_on_pixels": pixels,
        "softmax_head": made.metrics()["accuracy"],
    }


def pixel_svm(train: dict[str, np.ndarray], validation: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> float:
    """Accuracy on the test rows."""
    from sklearn.svm import SVC

    def flat(rows: dict[str, np.ndarray]) -> np.ndarray:
        return rows["image"].reshape(len(rows["image"]), -1)

    made = [SVC(C=c).fit(flat(train), train["target"]) for c in (1.0, 10.0)]
    best = max(made, key=lambda one: one.score(flat(validation), validation["target"]))
    return float(best.score(flat(test), test["target"]))
