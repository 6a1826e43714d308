"""Find rows that are unlike the normal ones."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evergreen.core.config import OpenShare
from evergreen.core.errors import ModelError, suggest
from evergreen.core.marks import Chart, Figure, Gallery, Section, Table, Text
from evergreen.models.answers import Chosen, Columns
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.tasks._pictures import SHOWN, steps

BINS = 40  # of the histogram of scores
USUAL = ("normal", "ok", "good", "healthy")  # what people call it


class Anomaly(Task):
    """One class is normal; a model that has seen no other says how surprised it is by a row (Hawkins et al. 2002).

    Output (B,) the surprise, target (B,) class indices. The loss is the mean surprise of the normal rows; others are
    never learned from, they only measure. `normal` is the class's name (default: one called normal, else the
    commonest). The threshold is the least surprise that at most `false_alarms` of normal validation rows exceed
    (split conformal prediction: Vovk et al. 2005; Laxhammar and Falkman 2010).
    Metrics: `auroc` (Hanley and McNeil 1982); at the threshold `found`, the share of anomalies found, and
    `false_alarms`, the share of normal rows that raise an alarm.
    """

    TARGETS = ("category",)
    APPLICATIONS = (
        ("fraud, defects, intrusions without labels", "number", "give rows known to be normal"),
        ("visual inspection of products", "image", ""),
    )
    REFERENCE = "nearest_neighbors"
    LAYOUTS = ("anomaly_score",)
    HAS_LOSS = False
    ROW_SCORE_GOAL = "max"
    PLOT = "confusion"
    SCORES_PAIRS = True
    METRICS = {"auroc": "max", "found": "max", "false_alarms": "min"}
    threshold: Tensor

    def __init__(
        self,
        target: FieldLike,
        in_features: int,
        *,
        normal: str | int | float | bool | None = None,
        false_alarms: OpenShare = 0.05,
    ) -> None:
        super().__init__(target, in_features)
        self.classes: list[Any] = list(target.state["values"][0])
        self.normal = self._index(normal)
        if not 0 < false_alarms < 1:
            fix = "use a fraction such as 0.05"
            raise ModelError(f"false_alarms is not valid (got {false_alarms})", place="task", fix=fix)
        self.false_alarms = false_alarms
        self.register_buffer("threshold", torch.tensor(math.inf))

    def forward(self, features: Tensor) -> Tensor:
        return features

    def trainable_rows(self, target: Tensor) -> Tensor:
        return target == self.normal

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        normal = (target == self.normal).to(output.dtype)
        return (output * normal).sum() / normal.sum().clamp_min(1)

    def calibrate(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Choose the ⌈(n + 1)(1 − share)⌉-th smallest score of the n normal rows as the threshold.

        New normal rows then exceed it with a probability of at most `share`. Where n is too small to promise that, it
        is the greatest.
        """
        surprise = output[target == self.normal].sort().values
        if not len(surprise):
            return {}
        rank = math.ceil((len(surprise) + 1) * (1 - self.false_alarms) - 1e-9)
        return {"threshold": surprise[min(rank, len(surprise)) - 1].float()}

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the fraction of rows of the other side that a row is ranked correctly to, ties half.

        Its mean over either side is the AUROC (DeLong et al. 1988).
        """
        is_anomaly = target != self.normal
        below, upto = (_ranks(output, output[~is_anomaly], right) for right in (False, True))
        above = 1 - (_ranks(output, output[is_anomaly], False) + _ranks(output, output[is_anomaly], True)) / 2
        return torch.where(is_anomaly, (below + upto) / 2, above)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        is_anomaly = target != self.normal
        alarm = (output > self.threshold).double()
        return {
            "auroc": float(self.row_scores(output, target)[is_anomaly].mean())
            if 0 < int(is_anomaly.sum()) < len(is_anomaly)
            else math.nan,
            "found": float(alarm[is_anomaly].mean()),
            "false_alarms": float(alarm[~is_anomaly].mean()),
        }

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return the distance from the mean of the normal training rows.

        It is shifted so that the threshold lets through the promised share of them.
        """
        known, x_test = _flat(train, rows)
        normal = train["target"] == self.normal
        known = known[normal] if normal.any() else known
        away, usual = (x_test - known.mean(0)).norm(dim=1), (known - known.mean(0)).norm(dim=1)
        limit = usual.quantile(1 - self.false_alarms)
        return torch.where(self.threshold.isinf(), away, away - limit + self.threshold)

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return a histogram of the scores with the threshold, alarms by class, and the most surprising rows."""
        score, limit = rows.output().float(), float(self.threshold)
        is_anomaly = rows.target != self.normal
        low, high = float(score.min()), max(float(score.double().quantile(0.99)), limit)
        edges = torch.linspace(low, high, BINS + 1).tolist()
        sides = [
            steps(name, score[side].clamp(low, high).histc(BINS, low, high), edges, style)
            for name, side, style in (("normal", ~is_anomaly, "a"), ("others", is_anomaly, "b"))
        ]
        alarms = float((score[~is_anomaly] > limit).float().mean())
        text = (
            f"Normal is {self.classes[self.normal]!s}. A row raises an alarm above {limit:.4g}, the dashed line, "
            f"chosen so that at most {self.false_alarms:.1%} of normal rows do; here {alarms:.1%} did, "
            f"of {int((~is_anomaly).sum()):,}."
        )
        by_class = []
        for index, name in enumerate(self.classes):
            if len(own := score[rows.target == index]):
                raised = f"{float((own > limit).float().mean()):.1%}"
                by_class.append([str(name), len(own), float(own.quantile(0.5)), raised])
        chosen = score.argsort(descending=True, stable=True)[:SHOWN].tolist()
        figures = [
            Figure(marks, {"surprise": float(score[row]), "actual": str(rows.truth[row])})
            for row, marks in zip(chosen, rows.inputs(chosen), strict=True)
            if marks
        ]
        top = [Text(f"The {len(figures)} test rows that surprise it most.", note=True), Gallery(figures)]
        chart = Chart(sides, "surprise", "share of the rows", rule=limit)
        table = Table([rows.target_name, "rows", "median surprise", "alarms"], by_class)
        return Section("How surprised it is", [Text(text), chart, table, *(top if figures else [])])

    def decode_columns(self, output: Tensor) -> Columns:
        scores = output.double()
        return {"prediction": Chosen(["normal", "anomalous"], (scores > self.threshold).long()), "score": scores}

    def _index(self, normal: Any) -> int:
        names = [str(value).lower() for value in self.classes]
        if normal is None:
            counts = self.target.state.get("counts", [[1]])[0]
            commonest = counts.index(max(counts))
            return next((names.index(word) for word in USUAL if word in names), commonest)
        if str(normal).lower() not in names:
            fix = suggest(str(normal), map(str, self.classes))
            raise ModelError(f"{normal!r} is not a class of the target", place="task.normal", fix=fix)
        return names.index(str(normal).lower())


def _flat(*batches: Batch) -> list[Tensor]:
    """Concatenate all inputs (B, D), the same way in all batches; values of categories and text are counted."""
    parts: list[list[Tensor]] = [[] for _ in batches]
    for name in (name for name in batches[0] if name != "target"):
        columns = [batch[name] for batch in batches]
        if not columns[0].is_floating_point():
            size = int(max(x.max() for x in columns)) + 1
            places = range(columns[0].shape[1]) if name == "category" else [slice(None)]
            counts = [[functional.one_hot(x[:, at].reshape(len(x), -1), size).sum(1) for at in places] for x in columns]
            columns = [torch.cat(part, 1).float() for part in counts]
        for part, x in zip(parts, columns, strict=True):
            part.append(x.flatten(1))
    return [torch.cat(part, 1) for part in parts]


def _ranks(x_N: Tensor, others_M: Tensor, right: bool) -> Tensor:
    """Return the fraction (N,) of `others` that lies below each x, those equal to it counted with `right`."""
    ordered = others_M.sort().values
    return torch.searchsorted(ordered, x_N.contiguous(), right=right).double() / max(1, len(others_M))
