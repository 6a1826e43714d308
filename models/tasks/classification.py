"""Predict which of K classes a row belongs to, or which of K labels it has."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.config import Share
from evergreen.core.errors import ModelError
from evergreen.core.marks import Matrix, Section, Table, Text
from evergreen.models.answers import Chosen, Columns, Named
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.metrics import ranking_curves
from evergreen.models.tasks._calibration import CalibratedTask
from evergreen.models.tasks._pictures import MAX_CLASSES

LOSSES = ("cross_entropy", "focal")
CONFUSION = "Which class is taken for which"
NEVER = -16.0  # logit below all others of a class that a model does not know: e^-16 is the smallest of float32
WEIGHTS = ("none", "balanced")
MANY = {"log_loss": "min"} | dict.fromkeys(("row_f1", "f1", "subset_accuracy", "auc", "average_precision"), "max")


class Classification(CalibratedTask):
    """One class of K by softmax, or any number of K labels by a sigmoid each; trained by cross-entropy.

    Target: a class's index (B,), or 1 for every label of the row (B, K). Output: logits (B, K).
    `loss: focal` gives less weight to what is right already, by `gamma` (Lin et al. 2017); `label_smoothing` takes that
    share of the certainty and spreads it over all classes (Szegedy et al. 2016); `class_weights: balanced` makes every
    class count alike in training and in what is answered, by its rows in the training split; probabilities are bent
    back to the real shares (King and Zeng 2001), and to what held on the validation rows (Guo et al. 2017).

    Log-loss decides (Good 1952): accuracy is alike for all who never name a rare class. Beside it, of one class:
    accuracy; the area under the ROC curve (Hanley and McNeil 1982) and average precision, of the second class of two or
    the mean over all; F1, the mean over the classes. Of many labels: F1 of each row's labels, the mean over rows
    (Godbole and Sarawagi 2004); F1 of each label; the share of rows with no label wrong. The baseline knows how common
    each class is. An answer says the prediction and all probabilities.
    """

    VERSION = 2
    TARGETS = ("category", "labels")
    APPLICATIONS = (
        ("medical images: which finding?", "image", "split by patient: `preprocess: {group: …}`"),
        ("fraud, labelled", "number category", "`task: {class_weights: balanced}`"),
        ("credit risk, churn", "number category", "split by time"),
        ("predictive maintenance from sensor windows", "series", ""),
        ("sentiment, topic, spam, triage of messages", "text", ""),
        ("several topics a document", "text", "a target of kind `labels`"),
        ("commands, alarms, engine sounds", "audio", ""),
        ("molecules: a property of each", "graph", "regression for numbers"),
        ("people, papers, accounts in a network", "graph", "the source `graph:` reads edges"),
    )
    ESTIMATOR = "Classifier"
    REFERENCE = "logistic_regression"
    PLOT = "confusion"
    METRICS = {"log_loss": "min", "accuracy": "max", "auc": "max", "average_precision": "max", "f1": "max"}
    SCORES_PAIRS = True
    CROSS_VALIDATES = True

    weights: Tensor  # (K,), or (K, 2) of having and lacking each label

    def __init__(
        self,
        target: FieldLike,
        in_features: int,
        *,
        loss: Literal["cross_entropy", "focal"] = "cross_entropy",
        gamma: float = 2.0,
        label_smoothing: Share = 0.0,
        class_weights: Literal["none", "balanced"] = "none",
    ) -> None:
        super().__init__(target, in_features)
        _check(loss, gamma, label_smoothing, class_weights)
        if len(self.classes) < (1 if self.many else 2):
            raise ModelError("the target has one class", place="task", fix="give data with at least two classes")
        self.gamma, self.smoothing = gamma if loss == "focal" else 0.0, label_smoothing
        self.balanced = class_weights == "balanced"
        if self.many:
            self.METRICS, self.PLOT = MANY, ""
        elif self.balanced:
            self.METRICS = {"log_loss": "min", "balanced_accuracy": "max", **self.METRICS}
        weights = balanced_weights(target.state, self.many) if self.balanced else torch.ones(1)
        self.register_buffer("weights", weights, persistent=False)
        if self.balanced:
            log_weights = weights.log()
            self.shift -= log_weights[:, 0] - log_weights[:, 1] if self.many else log_weights
        self.head = nn.Linear(in_features, len(self.classes))

    def classes_unknown_to(self, other: Task) -> list[Any]:
        known = {_to_text(name) for name in other.target.state["values"][0]}
        return [name for name in self.classes if _to_text(name) not in known]

    def align_output(self, output: Tensor, other: Task) -> Tensor:
        known = [_to_text(name) for name in other.target.state["values"][0]]
        aligned_NK = (output.amin(1, keepdim=True) + NEVER).repeat(1, len(self.classes))
        for place, name in enumerate(self.classes):
            if _to_text(name) in known:
                aligned_NK[:, place] = output[:, known.index(_to_text(name))]
        return aligned_NK

    def correct_priors(self) -> None:
        self.shift -= balanced_weights(self.target.state, is_multilabel=False).log()

    def forward(self, features: Tensor) -> Tensor:
        return self.bend(self.head(features))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return -Σ w q (1 - p)^γ log p over the outcomes on the last axis, the mean over all other axes."""
        output = self.unbend(output)
        if not (self.many or self.balanced or self.smoothing or self.gamma):
            return functional.cross_entropy(output, target)
        log_p, q = _outcomes(output, target, self.many)
        q = q * (1 - self.smoothing) + self.smoothing / q.shape[-1]
        surprise = -self.weights * q * log_p
        if self.gamma:
            surprise = surprise * (-torch.expm1(log_p)).clamp_min(1e-7) ** self.gamma
        return surprise.sum(-1).mean()

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the log-loss of each row."""
        return self.log_losses(output, target)

    def hits(self, output: Tensor, target: Tensor) -> Tensor | None:
        return None if self.many else self.decisions(output).argmax(1) == target

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        if self.many:
            return self._many(output, target)
        p_NK, hit = output.double().softmax(1), self.decisions(output).argmax(1)
        areas, precisions = ranking_curves.roc_auc_and_average_precision(
            p_NK, functional.one_hot(target, p_NK.shape[1])
        )
        chosen = slice(1, None) if p_NK.shape[1] == 2 else slice(None)
        right, predicted, actual = (
            torch.bincount(of, minlength=p_NK.shape[1]).double() for of in (target[hit == target], hit, target)
        )
        scores = {
            "log_loss": float(self.log_losses(output, target).mean()),
            "balanced_accuracy": ranking_curves.nanmean(right / actual),
            "accuracy": float(right.sum() / actual.sum()),
            "auc": ranking_curves.nanmean(areas[chosen]),
            "average_precision": ranking_curves.nanmean(precisions[chosen]),
            "f1": ranking_curves.nanmean(2 * right / (predicted + actual)),
        }
        return {name: scores[name] for name in self.METRICS}

    def _many(self, output: Tensor, target: Tensor) -> dict[str, float]:
        predicted, has = self.decisions(output) > 0, target > 0
        areas, precisions = ranking_curves.roc_auc_and_average_precision(output.double(), has)
        both, all_ = predicted & has, predicted.sum(1) + has.sum(1)
        row_f1_N = torch.where(all_ > 0, 2 * both.sum(1) / all_.clamp_min(1), 1.0)
        return {
            "log_loss": float(self.log_losses(output, target).mean()),
            "row_f1": float(row_f1_N.double().mean()),
            "f1": ranking_curves.nanmean(2 * both.sum(0).double() / (predicted.sum(0) + has.sum(0))),
            "subset_accuracy": float((predicted == has).all(1).double().mean()),
            "auc": ranking_curves.nanmean(areas),
            "average_precision": ranking_curves.nanmean(precisions),
        }

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return how common each class is among the training rows: it always predicts the commonest."""
        target, count = train["target"], len(rows["target"])
        if self.many:
            return target.mean(0).clamp(1e-6, 1 - 1e-6).logit().expand(count, -1)
        count_K = torch.bincount(target, minlength=len(self.classes)).float()
        return ((count_K + 1e-6) / count_K.sum()).log().expand(count, -1)

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return a confusion matrix; of many labels how well each is found."""
        output, target = rows.metric_inputs
        names = [str(value) for value in self.classes]
        if self.many:
            return _label_table(names, self.decisions(output) > 0, target > 0)
        if len(names) > MAX_CLASSES:
            text = f"A table of {len(names)} classes could not be read; plots/confusion.csv holds every answer."
            return Section(CONFUSION, [Text(text)])
        counts = torch.bincount(target * len(names) + self.decisions(output).argmax(1), minlength=len(names) ** 2)
        about = Text("Each row is an actual class, each column what the model predicted.", note=True)
        return Section(CONFUSION, [about, Matrix(names, counts.view(len(names), -1).tolist())])

    def decode_columns(self, output: Tensor) -> Columns:
        names = [str(value).lower() if isinstance(value, bool) else str(value) for value in self.classes]  # as JSON
        output = output.float()
        p_NK = output.sigmoid() if self.many else output.softmax(1)
        return {"prediction": self._predictions(output), "probabilities": Named(names, p_NK)}

    def _predictions(self, output: Tensor) -> list[Any] | Chosen:
        decisions = self.decisions(output)
        if self.many:
            rows = (decisions > 0).tolist()
            return [[name for name, has in zip(self.classes, row, strict=True) if has] for row in rows]
        return Chosen(self.classes, decisions.argmax(1))


def _label_table(names: list[str], predicted: Tensor, actual: Tensor) -> Section:
    """Return a line for each label, the commonest first, of (N, K) bool each."""
    counts = zip(names, *(found.sum(0).tolist() for found in (actual, predicted, actual & predicted)), strict=True)
    rows = [
        [name, n_actual, n_predicted, _share(right, n_predicted), _share(right, n_actual)]
        for name, n_actual, n_predicted, right in sorted(counts, key=lambda row: -row[1])
    ]
    head = ["", "rows that have it", "predicted", "of those rightly", "of those that have it, found"]
    about = Text("A label is predicted where its probability (weighted, if classes are) is above a half.", note=True)
    return Section("How well each label is found", [about, Table(head, rows)])


def _to_text(name: Any) -> str:
    """Return the text of a class; versions of before had "3.0" where there is 3 today."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(name))


def _share(part: int, total: int) -> str:
    return f"{part / total:.0%}" if total else "–"


def balanced_weights(state: Mapping[str, Any], is_multilabel: bool) -> Tensor:
    """Return weights (K,) that are inverse to how common a class is: N / (K n), 1 in the mean.

    Of many labels, having and lacking each are two classes: (K, 2). What no training row has weighs as if one had it.
    """
    if "counts" not in state:
        problem = "the prepared rows hold no class counts"
        raise ModelError(problem, place="task", fix="run preprocess again, or set class_weights to none")
    count = torch.tensor(state["counts"][0], dtype=torch.float32)
    if is_multilabel:
        count = torch.stack([count, state["rows"] - count], 1)
    return count.sum(-1, keepdim=True) / (count.shape[-1] * count.clamp_min(1))


def _outcomes(output: Tensor, target: Tensor, is_multilabel: bool) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and which came true: of K classes (B, K), of having each label or not (B, K, 2)."""
    if is_multilabel:
        return functional.logsigmoid(torch.stack([output, -output], 2)), torch.stack([target, 1 - target], 2)
    return output.log_softmax(1), functional.one_hot(target, output.shape[1])


def _check(loss: str, gamma: float, smoothing: float, weights: str) -> None:
    for name, value, right in (("loss", loss, LOSSES), ("class_weights", weights, WEIGHTS)):
        if value not in right:
            raise ModelError(f"{value!r} is not a valid value of {name}", place="task", fix=f"use {' or '.join(right)}")
    if not 0 <= smoothing < 1:
        fix = "use a fraction from 0 to below 1"
        raise ModelError(f"label_smoothing is not valid (got {smoothing})", place="task", fix=fix)
    if gamma < 0:
        raise ModelError(f"gamma is not valid (got {gamma})", place="task", fix="use a number of 0 or more")
