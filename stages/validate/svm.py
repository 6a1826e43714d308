"""Fit a support vector machine on a network's features, to see whether the head makes the best use of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from evergreen.data.kinds import find as find_kind
from evergreen.data.spec import FeatureSpec
from evergreen.models.network import Network
from evergreen.models.registry import find_task

MAX_ROWS = 5_000  # training rows; the fit takes their square
MAX_NUMBERS = 10_000_000  # of all training rows' features
Arrays = Mapping[str, np.ndarray[Any, Any]]


def fit_svm(
    network: Network, spec: FeatureSpec, train: Arrays, validation: Arrays, test: Arrays
) -> np.ndarray[Any, Any] | None:
    """Return log-probabilities (N, K) by a machine with a radial kernel (Cortes and Vapnik 1995) on the features.

    It is fitted to the training rows; its penalty and the scale of its margins are chosen by the validation rows. None
    for other targets than one class a row, and for more rows or features than the fit can take.
    """
    classes = len(spec.target.state["values"][0]) if find_kind(spec.target.kind).HAS_CLASSES else 0
    if (
        find_task(spec.task).REFERENCE != "logistic_regression"
        or not classes
        or spec.target.shape
        or len(train["target"]) > min(MAX_ROWS, MAX_NUMBERS // network.architecture.out_features)
    ):
        return None

    x, y = network.compute_features(train).numpy(), train["target"]
    validation_features, right = network.compute_features(validation).numpy(), validation["target"]
    machines = [make_pipeline(StandardScaler(), SVC(C=c)).fit(x, y) for c in (1.0, 10.0)]
    best = max(machines, key=lambda one: float(one.score(validation_features, right)))

    def margins(rows: np.ndarray[Any, Any]) -> Tensor:
        decision = best.decision_function(rows)
        decision = np.c_[-decision, decision] if decision.ndim == 1 else decision
        # a class that no training row has is never predicted
        all_margins = np.full((len(rows), classes), decision.min() - 1)
        all_margins[:, best.classes_] = decision
        return torch.as_tensor(all_margins)

    predicted, target = margins(validation_features), torch.as_tensor(right)
    scale = min(
        np.geomspace(0.3, 10, 12).tolist(),
        key=lambda scale: float(torch.nn.functional.cross_entropy(scale * predicted, target)),
    )
    return torch.log_softmax(scale * margins(network.compute_features(test).numpy()), 1).numpy()
