"""A deep belief network of 200 and 100 units, greedy and then fine-tuned, against a perceptron of its shape."""

from __future__ import annotations

from typing import Any

from benchmarks.reference.protocol import digits, learn

BARS = {"above_perceptron": (">=", 0.0)}  # accuracy, less that of scikit-learn's perceptron on the same rows
SEEDS = range(5)
ARCHITECTURE = "dbn"
OPTIONS: dict[str, Any] = {"greedy": 30, "learning_rate": 1e-2, "dropout": 0.1, "epochs": 60}


def run(seed: int) -> dict[str, float]:
    """Accuracy on the test rows; `greedy_alone` is logistic regression on the stack before it is fine-tuned."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    tables = digits(seed)
    found = learn("dbn", "classification", tables, "digit", seed=seed, **OPTIONS)
    stack = learn(
        "dbn", "classification", tables, "digit", seed=seed, **{**OPTIONS, "epochs": 1, "learning_rate": 1e-12}
    )
    x, x_test = (stack.network.architecture.eval()(rows).detach().numpy() for rows in (stack.train, stack.test))
    flat, flat_test = (rows["image"].flatten(1).numpy() for rows in (found.train, found.test))
    y, y_test = found.train["target"].numpy(), found.test["target"].numpy()
    perceptron = MLPClassifier((200, 100), max_iter=400, random_state=seed).fit(flat, y).score(flat_test, y_test)
    accuracy = found.metrics()["accuracy"]
    return {
        "above_perceptron": accuracy - float(perceptron),
        "accuracy": accuracy,
        "perceptron": float(perceptron),
        "greedy_alone": float(LogisticRegression(max_iter=500).fit(x, y).score(x_test, y_test)),
    }
