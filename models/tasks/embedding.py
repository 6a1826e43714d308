"""Learn vectors that are near each other where rows are of one class: verification and retrieval."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.config import Positive
from evergreen.core.errors import ModelError
from evergreen.core.marks import Chart, Figure, Gallery, Section, Text
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.tasks._pictures import steps

QUERIES, NEAREST = 8, 5  # test rows shown, and neighbours of each
POINTS = 80  # of a curve
BINS = 400  # of similarities from -1 to 1: areas under curves are exact to about a thousandth


class Embedding(Task):
    """Unit vectors by the N-pair loss (Sohn 2016): a row of the same class is to be nearer than all of other classes.

    Target: a class's index (B,). Output: (B, D) of length 1, D = `width`. For each pair of a class in the batch the
    loss is -log of the pair's share in a softmax of cosines / `temperature` over it and all rows of other classes; the
    mean is over the partners of a row, then over rows that have one.

    Each row of a split is compared with all others of it. Retrieval: mean average precision (Manning et al. 2008) and
    the share whose nearest is of its class. Verification, over all pairs: the area under the ROC curve, and the error
    where as many pairs of one class are refused as others are accepted (equal error rate).
    The baseline compares the raw inputs. An answer is the vector, and from which cosine on two of them are taken for
    one class: the threshold of equal errors on the validation rows.
    """

    TARGETS = ("category",)
    APPLICATIONS = (("face or signature verification, search by example", "image", ""),)
    REFERENCE = "linear_discriminants"
    ROW_SCORE_GOAL = "max"
    NEEDS_ALL_OUTPUTS = True
    METRICS = dict.fromkeys(("mean_average_precision", "recall_at_1", "verification_auc"), "max")
    METRICS |= {"equal_error_rate": "min"}

    threshold: Tensor  # () cosine

    def __init__(self, target: FieldLike, in_features: int, *, width: int = 64, temperature: Positive = 0.1) -> None:
        super().__init__(target, in_features)
        if width < 2 or not temperature > 0:
            problem = f"width or temperature is not valid (got {width} and {temperature})"
            raise ModelError(problem, place="task", fix="use a width of 2 or more and a temperature above 0")
        self.temperature = temperature
        self.head = nn.Linear(in_features, width)
        self.register_buffer("threshold", torch.tensor(0.5))

    def forward(self, features: Tensor) -> Tensor:
        return functional.normalize(self.head(features), dim=1)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        similar_BB = output @ output.T / self.temperature
        same_BB = target[:, None] == target
        others_B1 = similar_BB.masked_fill(same_BB, -torch.inf).logsumexp(1, keepdim=True)
        loss_BB = torch.logaddexp(similar_BB, others_B1) - similar_BB
        pairs_BB = same_BB & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
        loss_B = (loss_BB * pairs_BB).sum(1) / pairs_BB.sum(1).clamp_min(1)
        return loss_B.sum() / pairs_BB.any(1).sum().clamp_min(1)

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, 2 + 2 BINS): average precision, whether the nearest is of the class, two histograms.

        The histograms count the rows of the same class and of others by similarity. Rows that are alone of their class
        count as right.
        """
        unit = functional.normalize(output.float(), dim=1)
        rows = [self._facts(unit, target, first) for first in range(0, len(unit), 512)]
        return torch.cat(rows), target

    def _facts(self, unit: Tensor, target: Tensor, first: int) -> Tensor:
        similar_BN = unit[first : first + 512] @ unit.T
        own = torch.arange(first, first + len(similar_BN), device=unit.device)[:, None]
        order = similar_BN.scatter(1, own, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :-1]
        same = target[order] == target[first : first + 512, None]
        places = torch.arange(1, len(unit), device=unit.device)
        hits = same.sum(1)
        precise = (same.cumsum(1) / places * same).sum(1) / hits.clamp_min(1)
        alone = hits == 0
        bins = ((similar_BN.gather(1, order) + 1) / 2 * BINS).long().clamp(0, BINS - 1)
        counts = torch.zeros(len(same), 2 * BINS, device=unit.device)
        counts = counts.scatter_add(1, bins + BINS * ~same, torch.ones_like(bins, dtype=counts.dtype))
        scores = torch.stack([torch.where(alone, 1.0, precise), (same[:, :1].any(1) | alone).float()], 1)
        return torch.cat([scores, counts], 1)

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the average precision of each row."""
        return output[:, 0]

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        precise, nearest = output[:, :2].double().mean(0).tolist()
        refused, accepted, _ = _errors(output)
        area = torch.trapezoid(1 - refused, accepted).abs()
        worst = (refused - accepted).abs().argmin()
        return {
            "mean_average_precision": precise,
            "recall_at_1": nearest,
            "verification_auc": float(area),
            "equal_error_rate": float((refused + accepted)[worst] / 2),
        }

    def calibrate(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        refused, accepted, edges = _errors(output)
        return {"threshold": edges[(refused - accepted).abs().argmin()].to(self.threshold)}

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return the raw inputs, less their means in training."""
        names = [name for name in rows if name != "target"]
        raw, known = (torch.cat([part[name].flatten(1).float() for name in names], 1) for part in (rows, train))
        return functional.normalize(raw - known.mean(0), dim=1)

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return how cosines of pairs are spread, and test rows with those nearest to them."""
        unit, chosen = rows.output().float(), rows.spread(QUERIES)
        similar = unit[chosen] @ unit.T
        similar[torch.arange(len(chosen)), chosen] = -torch.inf
        cosines, near = similar.sort(dim=1, descending=True, stable=True)
        figures = []
        for row, others, values in zip(chosen, near[:, :NEAREST].tolist(), cosines.tolist(), strict=True):
            marks = rows.inputs([row, *others])
            figures.append(Figure(marks[0], {"": str(rows.truth[row])}))
            for other, cosine, drawn in zip(others, values, marks[1:], strict=False):
                is_same = rows.truth[other] == rows.truth[row]
                figures.append(Figure(drawn, {str(rows.truth[other]): cosine}, highlight=not is_same))
        same, different = rows.metric_inputs[0][:, 2:].double().sum(0).view(2, POINTS, -1).sum(2)
        edges = [place / POINTS * 2 - 1 for place in range(POINTS + 1)]
        curves = [steps("pairs of one class", same, edges, "a"), steps("pairs of two classes", different, edges, "b")]
        about = (
            "On the left a test row, then those nearest to it with their cosine, another class in orange; "
            "from the worst retrieved to the best."
        )
        rule = "The dashed line is the threshold: from there on two rows are taken for one class."
        chart = Chart(curves, "cosine of the pair", "share of the pairs", rule=float(self.threshold))
        gallery = Gallery(figures, columns=NEAREST + 1)
        return Section("What is near to what", [Text(rule, note=True), chart, Text(about, note=True), gallery])

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        same = float(self.threshold)
        return [{"prediction": row, "same_from": same} for row in output.tolist()]


def _errors(facts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the fraction refused of pairs of one class, that accepted of other pairs, and the thresholds.

    (BINS + 1,) each, for thresholds from -1 to 1.
    """
    same, other = facts[:, 2:].double().sum(0).view(2, BINS)
    edges = torch.linspace(-1, 1, BINS + 1, dtype=torch.float64, device=facts.device)
    below = [torch.cat([part.new_zeros(1), part.cumsum(0)]) / part.sum().clamp_min(1) for part in (same, other)]
    return below[0], 1 - below[1], edges
