"""The next H values of a series."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evergreen.core.errors import ModelError
from evergreen.models.base import Batch, FieldLike
from evergreen.models.tasks._quantile import NumericTask

ENOUGH = 10_000  # training rows by which a season is found


class Forecasting(NumericTask):
    """All H steps at once (the direct strategy: Ben Taieb et al. 2012). Output (B, H), or (B, H, Q) with quantiles;
    target (B, H), standardised by the mean and deviation of the history.

    Loss: least squares, least absolute deviations, Huber's (1964) or the pinball loss of quantiles (Koenker and Bassett
    1978). Each step has an interval that held on the validation rows (Lei et al. 2018). Metrics: mean squared and mean
    absolute error, and the latter as a share of that of "as it was one step ago" on the training rows (MASE: Hyndman
    and Koehler 2006). Baseline: as it was a `season` ago, the one that serves the training rows best if none is given.
    """

    TARGETS = ("series",)
    PLOT = "forecast"
    METRICS = {"mse": "min", "mae": "min"}

    def __init__(
        self,
        target: FieldLike,
        in_features: int,
        *,
        season: int = 0,
        loss: str = "mse",
        quantiles: Sequence[float] = (),
        interval: float = 0.9,
    ) -> None:
        super().__init__(target, in_features, loss=loss, quantiles=quantiles, interval=interval)
        if season < 0:
            raise ModelError(f"season is {season}", place="task.season", fix="give it in rows; 0 is to be found")
        self.season, self.naive = season, float(target.state.get("naive", 0.0))
        if self.naive:
            self.METRICS = {**self.METRICS, "mase": "min"}

    def scores(self, said: Tensor, came: Tensor) -> dict[str, float]:
        error = said - came
        mae = float(error.abs().mean())
        return {"mse": float(error.square().mean()), "mae": mae} | ({"mase": mae / self.naive} if self.naive else {})

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """As it was a season ago, in each step; a season of 1 is the last known value throughout."""
        history_BT, seen = _history(train)[:ENOUGH], train["target"][:ENOUGH]
        length, steps = history_BT.shape[1], seen.shape[1]
        if self.season > length:
            fix = "make preprocess.window as long, or leave the season out"
            raise ModelError(f"a season of {self.season} in a window of {length}", place="task.season", fix=fix)

        def ago(history_BT: Tensor, season: int) -> Tensor:
            return history_BT[:, length - season + torch.arange(steps) % season]

        def error(season: int) -> float:
            return float((ago(history_BT, season) - seen).square().mean())

        season = self.season or min(range(1, length + 1), key=error)
        said = ago(_history(rows), season)
        if not len(self.levels):
            return said
        off_QH = (seen - ago(history_BT, season)).quantile(self.levels.to(seen.dtype), dim=0)
        return said[..., None] + off_QH.T


def _history(batch: Batch) -> Tensor:
    """(B, T) of the series itself; further channels are what goes with it."""
    return next(column for name, column in batch.items() if name != "target" and column.ndim == 3)[..., 0]
