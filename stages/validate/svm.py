"""What a network makes of its inputs, and a support vector machine on it: is the head the best use of the features?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from evergreen.data.spec import FeatureSpec
    from evergreen.models.network import Network

MOST_ROWS = 5_000  # training rows; the fit takes their square
AT_ONCE = 1024  # rows
Arrays = Mapping[str, np.ndarray[Any, Any]]


def features(network: Network, rows: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """(N, F) of encoded rows, in evaluation mode. Features of each position or pixel are their mean over the row."""
    inputs = {name: torch.as_tensor(column) for name, column in rows.items() if name != "target"}
    network.eval()
    with torch.inference_mode():
        parts = [
            _pooled(network.architecture(dict(zip(inputs, chunk, strict=True))))
            for chunk in zip(*(column.split(AT_ONCE) for column in inputs.values()), strict=True)
        ]
    found: np.ndarray[Any, Any] = torch.cat(parts).float().numpy()
    return found


def _pooled(x: Tensor) -> Tensor:
    if x.ndim == 4:
        return x.mean((2, 3))
    return x.mean(1) if x.ndim == 3 else x[:, None] if x.ndim == 1 else x


def svm(
    network: Network, spec: FeatureSpec, train: Arrays, validation: Arrays, test: Arrays
) -> np.ndarray[Any, Any] | None:
    """(N, K) logarithms of probabilities by a machine with a radial kernel (Cortes and Vapnik 1995) on the training
    rows' features. Its penalty and the scale of its margins are chosen by the validation rows.

    None for other tasks than one class a row, and for more rows than it is made for.
    """
    classes = len(spec.target.state["values"][0]) if spec.target.kind == "category" else 0
    if spec.task != "classification" or not classes or spec.target.shape or len(train["target"]) > MOST_ROWS:
        return None
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    x, y = features(network, train), train["target"]
    held, right = features(network, validation), validation["target"]
    made = [make_pipeline(StandardScaler(), SVC(C=c)).fit(x, y) for c in (1.0, 10.0)]
    best = max(made, key=lambda one: float(one.score(held, right)))

    def margins(rows: np.ndarray[Any, Any]) -> Tensor:
        found = best.decision_function(rows)
        found = np.c_[-found, found] if found.ndim == 1 else found
        whole = np.full((len(rows), classes), found.min() - 1)  # a class that no training row has is never said
        whole[:, best.classes_] = found
        return torch.as_tensor(whole)

    said, target = margins(held), torch.as_tensor(right)
    scale = min(
        np.geomspace(0.3, 10, 12).tolist(),
        key=lambda scale: float(torch.nn.functional.cross_entropy(scale * said, target)),
    )
    result: np.ndarray[Any, Any] = (scale * margins(features(network, test))).log_softmax(1).numpy()
    return result
