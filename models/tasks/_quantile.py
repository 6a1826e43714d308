"""Share losses of numbers, quantiles and calibrated intervals between regression and forecasting."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.config import OpenShare, Share
from evergreen.core.errors import ModelError, suggest
from evergreen.models.answers import Columns, Named, Objects
from evergreen.models.base import FieldLike, Task
from evergreen.models.target_scaling import InverseTarget

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "mse": functional.mse_loss,  # least squares (Legendre 1805): the mean is right
    "mae": functional.l1_loss,  # least absolute deviations (Boscovich 1757): the median is right
    "huber": functional.huber_loss,  # squares up to one deviation, absolutes beyond (Huber 1964)
}

ENDS = ("low", "high", "prediction")


class NumericTask(Task):
    """A target of one standardised number or several: output (B, *S), or (B, *S, Q) with Q quantiles, rising.

    `loss` is mse, mae, huber or quantiles; naming `quantiles` asks for them, too. `interval` is the share of answers to
    lie between low and high (0 gives none); with quantiles it is the first to the last. Either is widened or narrowed
    so that it held on rows that were not learned from: the validation rows (Vovk et al. 2005; Lei et al. 2018; of
    quantiles: Romano et al. 2019), or few rows, each by its fold's network (Vovk 2015; Barber et al. 2021).

    What is asked for decides (Gneiting 2011): the pinball loss of quantiles, absolute errors of mae, else squared ones.
    """

    METRICS: dict[str, str] = {}
    margin: Tensor
    levels: Tensor

    def __init__(
        self,
        target: FieldLike,
        in_features: int,
        *,
        loss: Literal["mse", "mae", "huber", "quantiles"] = "mse",
        quantiles: Sequence[OpenShare] = (),
        interval: Share = 0.9,
    ) -> None:
        super().__init__(target, in_features)
        levels = sorted(quantiles)
        if not levels and loss == "quantiles":
            levels = [(1 - interval) / 2, 0.5, (1 + interval) / 2]
        _check(loss, levels, interval)
        self.units = InverseTarget(target)
        self.coverage = levels[-1] - levels[0] if levels else interval
        self.kind = "quantiles" if levels else loss
        if levels:
            self.METRICS = {"pinball": "min", **self.METRICS}
        elif loss == "mae":
            self.METRICS = {"mae": "min", **self.METRICS}
        self.shape = tuple(target.shape)
        self.head = nn.Linear(in_features, math.prod(self.shape) * max(1, len(levels)))
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("margin", torch.full(self.shape, math.nan))  # not a number: not yet known

    def forward(self, features: Tensor) -> Tensor:
        y = self.head(features)
        if not len(self.levels):
            return y.view(-1, *self.shape)
        return y.view(-1, *self.shape, len(self.levels)).sort(-1).values  # quantiles never cross

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return pinball(output, target, self.levels).mean() if len(self.levels) else LOSSES[self.kind](output, target)

    def point(self, output: Tensor) -> Tensor:
        """Return the prediction as one number (N, *S); of quantiles the one nearest to the median."""
        return output[..., int((self.levels - 0.5).abs().argmin())] if self._wide(output) else output

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss that decides, a mean over the values of a row, in the target's unit or its square."""
        actual = self.units(target)
        if len(self.levels):
            losses = pinball(self._quantiles(output), actual, self.levels)
        else:
            error = self.units(output) - actual
            losses = error.abs() if self.kind == "mae" else error.square()
        return losses.reshape(len(target), -1).mean(1)

    def scores_like(self, other: Task) -> bool:
        assert isinstance(other, NumericTask)
        return (self.kind == "mae", self.levels.tolist()) == (other.kind == "mae", other.levels.tolist())

    def align_output(self, output: Tensor, other: Task) -> Tensor:
        """Return the one number that the other task predicts."""
        assert isinstance(other, NumericTask)
        return self.units.encode(other.units(other.point(output)))

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        actual = self.units(target)
        scores = self.scores(self.units(self.point(output)), actual)
        if len(self.levels):
            scores["pinball"] = float(pinball(self._quantiles(output), actual, self.levels).mean())
        return {name: scores[name] for name in self.METRICS}

    def _quantiles(self, output: Tensor) -> Tensor:
        """Return the quantiles (N, *S, Q) in the data's units; one number alone is all of them."""
        values = self.units(output)
        return values if self._wide(output) else values[..., None].expand(*values.shape, len(self.levels))

    def scores(self, predicted: Tensor, actual: Tensor) -> dict[str, float]:
        """Compute the metrics of predicted and actual values, (N, *S) in the data's units."""
        raise NotImplementedError

    def calibrate(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Choose the margin by which low and high move apart for the promised share of rows to lie between."""
        low, high = self._ends(output)
        # (N, S); within: below 0
        outside = torch.maximum(low - target, target - high).view(len(target), -1).sort(0).values
        rank = math.ceil((len(target) + 1) * self.coverage) - 1
        return {"margin": outside[min(rank, len(target) - 1)].view(self.shape)} if self.coverage else {}

    def misses(self, stored: Mapping[str, list[Any]]) -> Tensor:
        """Return how far each row lies outside its answer, (N, *S), encoded; below 0 within."""
        low, high, _ = self._encoded_ends(stored)
        actual = self.units.encode(torch.tensor(stored["actual"], dtype=torch.float64))
        return torch.maximum(low - actual, actual - high)

    def widen(self, answers: Objects, limit: Tensor) -> Objects:
        """Move `low` and `high` apart by `limit`, encoded (Romano, Patterson and Candès 2019); past no prediction."""
        low, high, middle = self._encoded_ends(
            {name: [one[name] for one in answers] for name in ENDS if name in answers[0]}
        )
        ends = torch.minimum(low - limit, middle), torch.maximum(high + limit, middle)
        pairs = zip(answers, *(self.units(end).tolist() for end in ends), strict=True)
        return [answer | {"low": low, "high": high} for answer, low, high in pairs]

    def _encoded_ends(self, columns: Mapping[str, list[Any]]) -> list[Tensor]:
        """Return low, high and prediction of answers, (N, *S) each; without an interval all are the last."""
        some = [columns.get(name, columns["prediction"]) for name in ENDS]
        return [self.units.encode(torch.tensor(one, dtype=torch.float64)) for one in some]

    def bounds(self, output: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return (low, high), (N, *S) each in the data's units; None where no interval is known."""
        if not self.coverage or (not len(self.levels) and bool(self.margin.isnan().any())):
            return None
        low, high = self._ends(output)
        margin = self.margin.nan_to_num(0.0)
        middle = self.point(output)  # a margin below 0 may not carry an end past it
        return self.units(torch.minimum(low - margin, middle)), self.units(torch.maximum(high + margin, middle))

    def decode_columns(self, output: Tensor) -> Columns:
        columns: dict[str, Tensor | Named] = {"prediction": self.units(self.point(output))}
        if ends := self.bounds(output):
            columns |= dict(zip(("low", "high"), ends, strict=True))
        if len(self.levels) > 3 and self._wide(output):
            names = [f"{level:g}" for level in self.levels.tolist()]
            columns["quantiles"] = Named(names, self.units(output).movedim(-1, 1))
        return columns

    def _ends(self, output: Tensor) -> tuple[Tensor, Tensor]:
        return (output[..., 0], output[..., -1]) if self._wide(output) else (output, output)

    def _wide(self, output: Tensor) -> bool:
        """Tell whether the last axis is that of the quantiles; a baseline may predict one number alone."""
        return bool(len(self.levels)) and output.ndim == len(self.shape) + 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}margin", self.margin)  # weights without one: the margin is not known
        super()._load_from_state_dict(state_dict, prefix, *rest)


def pinball(output: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    """Return the pinball loss (…, Q) of output (…, Q) and target (…) (Koenker and Bassett 1978).

    Its mean is least at the quantile.
    """
    over = target[..., None] - output
    return torch.maximum(levels * over, (levels - 1) * over)


def _check(loss: str, levels: Sequence[float], interval: float) -> None:
    if loss != "quantiles" and loss not in LOSSES:
        raise ModelError(f"{loss!r} is not a valid loss", place="task.loss", fix=suggest(loss, [*LOSSES, "quantiles"]))
    if not all(0 < level < 1 for level in levels) or len(set(levels)) < len(levels):
        fix = "use distinct fractions between 0 and 1, such as [0.1, 0.5, 0.9]"
        raise ModelError(f"quantiles are not valid (got {list(levels)})", place="task.quantiles", fix=fix)
    if not 0 <= interval < 1:
        fix = "use a fraction such as 0.9, or 0 for none"
        raise ModelError(f"interval is not valid (got {interval})", place="task.interval", fix=fix)
