"""Turn one text into another: translation, notation, normalization."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from evergreen.core.marks import Section
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.network import Network
from evergreen.models.tasks._pictures import text_diffs
from evergreen.models.text_generation import PADDING, UNKNOWN, decode_line, decode_tokens, sample_top_p
from evergreen.models.text_stream import Sampling

ORDERS = 6  # characters of the longest n-grams of chrF
BETA = 2  # how many times recall counts more than precision
COMPARED = 2_000  # training rows among which the baseline seeks the nearest


class Translation(Task):
    """The architecture writes the text itself and has the loss. Output and target (B, L) tokens.

    Metrics: the share of texts that are exactly right; chrF, the F-score of runs of 1 to 6 characters (Popović 2015),
    counted over all rows. A target with a token that no training row has is never exactly right.
    """

    TARGETS = ("text",)
    APPLICATIONS = (("translation, normalising, rewriting", "text", ""),)
    LAYOUTS = ("target",)
    HAS_LOSS = False
    ROW_SCORE_GOAL = "max"
    METRICS = {"exact_match": "max", "chrf": "max"}

    def __init__(self, target: FieldLike, in_features: int) -> None:
        super().__init__(target, in_features)

    def forward(self, features: Tensor) -> Tensor:
        return features

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return n-grams in both, predicted and actual (N, 3, 6), and which texts are exactly right (N,)."""
        state = self.target.state
        runs = [
            _runs(decode_line(state, predicted), decode_line(state, true))
            for predicted, true in zip(output.tolist(), target.tolist(), strict=True)
        ]
        exact = (output == target).all(1) & (target != UNKNOWN).all(1)
        return torch.tensor(runs, dtype=torch.float64).view(-1, 3, ORDERS), exact.float()

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return 1 where the text is exactly right, else 0."""
        return target

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        both, predicted, true = output.sum(0)
        has_runs = true > 0
        precision = (both / predicted.clamp_min(1))[has_runs].mean()
        recall = (both / true.clamp_min(1))[has_runs].mean()
        score = (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall).clamp_min(1e-12)
        return {"exact_match": float(target.double().mean()), "chrf": float(score)}

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return the target of the training row whose inputs agree in most places."""
        near = torch.zeros(len(rows["target"]), min(COMPARED, len(train["target"])))
        for name, column in rows.items():
            if name != "target":
                near += _agreement(column.flatten(1), train[name][: near.shape[1]].flatten(1))
        return train["target"][near.argmax(1)]

    def pictures(self, rows: EvaluatedRows) -> Section:
        return text_diffs("Predicted and actual texts", rows)

    def write(self, network: Network, rows: Batch, sampling: Sampling) -> Iterator[Sequence[int]]:
        """Yield the tokens of one row's text; all at once where the architecture knows them at its end alone."""
        if not hasattr(network.architecture, "write"):
            yield network(rows)[0].tolist()
            return
        writer: Any = network.architecture
        chance = torch.Generator().manual_seed(sampling.seed)

        def draw(scores_BV: Tensor) -> Tensor:
            number = float(torch.rand((), generator=chance))
            return sample_top_p(scores_BV, number, sampling.temperature or 0.0, sampling.top_p or 1.0)

        for token_B in writer.write(rows, draw if sampling.temperature else None):
            yield token_B.tolist()

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        return [{"prediction": decode_tokens(self.target.state, row)} for row in output.tolist()]


def _runs(predicted: str, true: str) -> list[list[int]]:
    """Count runs of characters: [in both, predicted, true], each by the runs' length; spaces do not count."""
    counts = [
        [Counter(line[i : i + n] for i in range(len(line) - n + 1)) for n in range(1, ORDERS + 1)]
        for line in ("".join(predicted.split()), "".join(true.split()))
    ]
    both = [(a & b).total() for a, b in zip(*counts, strict=True)]
    return [both, *([one.total() for one in line] for line in counts)]


def _agreement(rows: Tensor, train: Tensor) -> Tensor:
    """Return (N, M), the number of places in which two rows are equal, padding aside."""
    counts = [((row == train) & (train != PADDING)).sum(1) for row in rows]
    return torch.stack(counts).float()
