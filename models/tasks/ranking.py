"""Recommend which of many items a user will take next."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.errors import ModelError
from evergreen.core.marks import Chart, Line, Section, Text
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task

FARTHEST = 50  # items down the list that the curve shows
TOP = 10  # items recommended


class Ranking(Task):
    """Softmax over all V items by their match with the features (Covington et al. 2016); the item taken is the target.

    Target: its index (B,). Output: a score of every item (B, V). Inputs say who asks and what was before: a user (kind
    category), the history (labels, text), the context. With more than `whole` items the loss of a training batch weighs
    the right one against `sampled` others drawn evenly, which stand for all (Bengio and Senécal 2008).

    The held-out item is ranked among all items, not among a few drawn ones, which would rank models wrongly (Krichene
    and Rendle 2020): normalised discounted cumulative gain at 10 (Järvelin and Kekäläinen 2002), of one item
    1 / log2(1 + rank) up to rank 10; the share found within 10 (hit rate); the mean of 1 / rank.
    The baseline recommends what is taken most. An answer lists the ten best items with their probabilities.
    """

    TARGETS = ("category",)
    APPLICATIONS = (("recommendation of the next item", "category", ""),)
    REFERENCE = "naive_bayes"
    PLOT = "confusion"
    ROW_SCORE_GOAL = "max"
    METRICS = {"ndcg_at_10": "max", "hit_rate_at_10": "max", "reciprocal_rank": "max"}

    def __init__(self, target: FieldLike, in_features: int, *, whole: int = 20_000, sampled: int = 2_000) -> None:
        super().__init__(target, in_features)
        self.items: list[Any] = list(target.state["values"][0])
        if len(self.items) < 2:
            raise ModelError("there is only one item", place="task", fix="give data with many items")
        self.drawn = sampled if len(self.items) > whole else 0
        if sampled < 1:
            raise ModelError(f"sampled is not valid (got {sampled})", place="task", fix="use at least 1")
        self.head: nn.Linear = nn.Linear(in_features, len(self.items))

    def forward(self, features: Tensor) -> Tensor:
        """Return scores (B, V); in training with too many items to score them all, the features for `loss`."""
        scores_BV: Tensor = features if self.training and self.drawn else self.head(features)
        return scores_BV

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        if self.training and self.drawn:
            return self._sampled_loss(output, target)
        return functional.cross_entropy(output, target)

    def _sampled_loss(self, x_BF: Tensor, target: Tensor) -> Tensor:
        """Return cross-entropy with the sum over other items estimated from S: each counts (V - 1) / S times."""
        others_S = torch.randint(len(self.items), (self.drawn,), device=target.device)
        right_B = (x_BF * self.head.weight[target]).sum(1) + self.head.bias[target]
        scores_BS = x_BF @ self.head.weight[others_S].T + self.head.bias[others_S]
        scores_BS = scores_BS.masked_fill(others_S == target[:, None], -torch.inf)
        rest_B = scores_BS.logsumexp(1) + torch.tensor((len(self.items) - 1) / self.drawn).log()
        return (torch.logaddexp(right_B, rest_B) - right_B).mean()

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rank of the right item, from 1; among equal scores the middle of their ranks."""
        right_N1 = output.gather(1, target[:, None])
        above_N = (output > right_N1).sum(1)
        equal_N = (output == right_N1).sum(1) - 1
        return 1 + above_N + equal_N / 2, target

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the gain of the right item at its rank."""
        return torch.where(output <= TOP, 1 / (1 + output).log2(), 0.0)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        return {
            "ndcg_at_10": float(self.row_scores(output, target).mean()),
            "hit_rate_at_10": float((output <= TOP).float().mean()),
            "reciprocal_rank": float((1 / output).mean()),
        }

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return how often each item is taken in the training rows."""
        count_V = torch.bincount(train["target"], minlength=len(self.items)).float()
        return ((count_V + 1e-6) / count_V.sum()).log().expand(len(rows["target"]), -1)

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return the share of test rows whose item is among the first k, over k."""
        ranks = {"the candidate": rows.metric_inputs[0], **{name: facts[0] for name, facts in rows.others().items()}}
        places = range(1, min(FARTHEST, len(self.items)) + 1)
        lines = [
            Line(name, [(float(k), float((rank <= k).float().mean())) for k in places], style)
            for (name, rank), style in zip(ranks.items(), "abc", strict=False)
        ]
        about = f"Of {len(self.items):,} items; at {TOP} it is the hit rate of the ten that an answer lists."
        chart = Chart(lines, "items shown, k", "share found among them")
        return Section("How soon the right item comes up", [Text(about, note=True), chart])

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        share, best = output.float().softmax(1).topk(min(TOP, len(self.items)))
        return [
            {
                "prediction": self.items[items[0]],
                "probabilities": {str(self.items[k]): p for k, p in zip(items, ps, strict=True)},
            }
            for items, ps in zip(best.tolist(), share.tolist(), strict=True)
        ]
