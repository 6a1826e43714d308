"""Which of K classes a row belongs to."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import Batch, FieldLike, ModelError, Task


class Classification(Task):
    """Softmax over K classes trained by cross-entropy. Output (B, K) logits, target (B,) class indices."""

    TARGETS = ("category",)
    PICTURE = "confusion"
    PER_ROW = "max"
    METRICS: ClassVar[dict[str, str]] = {"accuracy": "max", "auc": "max", "log_loss": "min", "f1": "max"}

    def __init__(self, target: FieldLike, features: int) -> None:
        super().__init__(target, features)
        self.classes: list[Any] = list(target.state["values"][0])
        if len(self.classes) < 2:
            raise ModelError("the target has one class", place="task", fix="give data with two classes at least")
        self.head = nn.Linear(features, len(self.classes))

    def forward(self, features: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(features)
        return logits_BK

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output, target)

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        """1 where the row is classified rightly, else 0."""
        return (output.argmax(1) == target).float()

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        return {
            "accuracy": float(self.per_row(output, target).double().mean()),
            "auc": auc(output.double().softmax(1), target),
            "log_loss": float(self.loss(output.float(), target)),
            "f1": f1(output.argmax(1), target),
        }

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """The training split's class frequencies: it always answers the commonest class."""
        count_K = torch.bincount(train["target"], minlength=len(self.classes)).float()
        return ((count_K + 1e-6) / count_K.sum()).log().expand(len(rows["target"]), -1)

    def answer(self, output: Tensor) -> list[dict[str, Any]]:
        names = [
            str(value).lower() if isinstance(value, bool) else str(value) for value in self.classes
        ]  # as JSON does
        rows = output.float().softmax(1).tolist()
        best = output.argmax(1).tolist()
        return [
            {"prediction": self.classes[index], "probabilities": dict(zip(names, row, strict=True))}
            for index, row in zip(best, rows, strict=True)
        ]


def auc(p_NK: Tensor, target: Tensor) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic (Hanley and McNeil 1982), ties counted half.

    Two classes: of the second; more: the mean of one class against the rest over the classes that occur; nan where
    only one class occurs.
    """
    chosen = [1] if p_NK.shape[1] == 2 else range(p_NK.shape[1])
    areas = [_area(p_NK[:, k], target == k) for k in chosen if 0 < int((target == k).sum()) < len(target)]
    return sum(areas) / len(areas) if areas else float("nan")


def _area(score: Tensor, positive: Tensor) -> float:
    _, index, count = score.unique(return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[index]  # the mean rank of tied scores, from 1
    n = int(positive.sum())
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def f1(predicted: Tensor, target: Tensor) -> float:
    """Mean over the classes that occur of the harmonic mean of precision and recall."""
    scores = [
        2 * int(((predicted == k) & (target == k)).sum()) / int((predicted == k).sum() + (target == k).sum())
        for k in torch.cat([predicted, target]).unique().tolist()
    ]
    return sum(scores) / len(scores)
