"""Predict the next H values of a series."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from evergreen.core.config import OpenShare, Share
from evergreen.core.errors import ModelError
from evergreen.core.marks import Chart, Line, Mark, Section, Sparkline, Text
from evergreen.models.base import Batch, EvaluatedRows, FieldLike
from evergreen.models.tasks._pictures import MAX_POINTS, coverage
from evergreen.models.tasks._quantile import NumericTask

Answers = list[dict[str, Any]]
MAX_SERIES = 6  # more charts are not looked at
ENOUGH = 10_000  # training rows by which a season is found


class Forecasting(NumericTask):
    """All H steps at once, the direct strategy (Ben Taieb et al. 2012).

    Output (B, H), or (B, H, Q) with quantiles; target (B, H), standardized by the mean and deviation of the history.

    Loss: least squares, least absolute deviations, Huber's (1964) or the pinball loss of quantiles (Koenker and Bassett
    1978). Each step has an interval that held on the validation rows (Lei et al. 2018). Metrics: mean squared and mean
    absolute error, and the latter as a share of that of "as it was one step ago" on the training rows (MASE: Hyndman
    and Koehler 2006). Baseline: as it was a `season` ago, the one that serves the training rows best if none is given.
    """

    VERSION = 2
    TARGETS = ("series",)
    APPLICATIONS = (("sales, load, sensor forecasts", "series", "ask for intervals"),)
    REFERENCE = "autoregression"
    IS_FORECAST = True
    PLOT = "forecast"
    METRICS = {"mse": "min", "mae": "min"}

    def __init__(
        self,
        target: FieldLike,
        in_features: int,
        *,
        season: int = 0,
        loss: Literal["mse", "mae", "huber", "quantiles"] = "mse",
        quantiles: Sequence[OpenShare] = (),
        interval: Share = 0.9,
    ) -> None:
        super().__init__(target, in_features, loss=loss, quantiles=quantiles, interval=interval)
        if season < 0:
            fix = "give its length in rows, or 0 to detect it"
            raise ModelError(f"season is not valid (got {season})", place="task.season", fix=fix)
        self.season, self.naive = season, float(target.state.get("naive", 0.0))
        if self.naive:
            self.METRICS = {**self.METRICS, "mase": "min"}

    def scores(self, predicted: Tensor, actual: Tensor) -> dict[str, float]:
        error = predicted - actual
        mae = float(error.abs().mean())
        return {"mse": float(error.square().mean()), "mae": mae} | ({"mase": mae / self.naive} if self.naive else {})

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return each series one step ahead, and the whole of its last forecast."""
        answers, groups = rows.answers(), rows.groups()
        marks: list[Mark] = coverage(answers, rows.truth, self.coverage)
        names = sorted(set(groups))
        for name in names[:MAX_SERIES]:
            chosen = [row for row, group in enumerate(groups) if group == name]
            heading = f"{name}: " if name else ""
            marks.append(self._first_steps(rows, chosen, answers, heading))
            if len(rows.truth[chosen[-1]]) > 1:
                marks.append(self._last_forecast(rows, chosen[-1], answers[chosen[-1]], heading))
        if len(names) > MAX_SERIES:
            text = f"{MAX_SERIES} of {len(names)} series are drawn; plots/forecast.csv holds every answer."
            marks.append(Text(text))
        return Section("What it predicted and what came", marks)

    def _first_steps(self, rows: EvaluatedRows, chosen: list[int], answers: Answers, heading: str) -> Chart:
        """Draw one step ahead, over time."""
        times = rows.times()
        numeric = isinstance(times[chosen[0]], int | float)
        x = rows.time if numeric else f"test row, {times[chosen[0]]} to {times[chosen[-1]]}"
        places = [float(times[row]) if numeric else float(number) for number, row in enumerate(chosen)]
        step = slice(None, None, 1 + len(chosen) // MAX_POINTS)
        actual = [(at, rows.truth[row][0]) for at, row in zip(places, chosen, strict=True)][step]
        steps = [{key: value[0] for key, value in answers[row].items() if isinstance(value, list)} for row in chosen]
        lines = self._forecast_lines(places[step], steps[step], f"{heading}predicted, one step ahead")
        return Chart([*lines, Line("what came", actual, "b")], x, rows.target_name)

    def _last_forecast(self, rows: EvaluatedRows, row: int, answer: dict[str, Any], heading: str) -> Chart:
        """Draw all steps ahead from the last time at which all of them are known."""
        (history,) = [vars(mark)["history"] for mark in rows.inputs([row])[0] if isinstance(mark, Sparkline)][:1]
        past = [(float(at - len(history)), value) for at, value in enumerate(history)]
        ahead = [float(step) for step in range(len(rows.truth[row]))]
        actual = Line("what came", [*past[-1:], *zip(ahead, rows.truth[row], strict=True)], "b")
        keys = [key for key, values in answer.items() if isinstance(values, list)]
        steps = [dict(zip(keys, values, strict=True)) for values in zip(*(answer[key] for key in keys), strict=True)]
        lines = self._forecast_lines(ahead, steps, f"{heading}predicted from there on")
        return Chart([Line("what it saw", past, "faint"), *lines, actual], "steps ahead", rows.target_name)

    def _forecast_lines(self, places: list[float], steps: list[dict[str, float]], name: str) -> list[Line]:
        """Return the predicted line, and the band between its ends where there is one."""
        points = {key: [(at, step[key]) for at, step in zip(places, steps, strict=True)] for key in steps[0]}
        line = Line(name, points["prediction"], "a")
        if "low" not in points:
            return [line]
        return [Line(f"where {self.coverage:.0%} were to lie", [*points["high"], *points["low"][::-1]], "band"), line]

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Repeat the values of a season ago; a season of 1 repeats the last known value."""
        history_BT, future = _history(train)[:ENOUGH], train["target"][:ENOUGH]
        length, steps = history_BT.shape[1], future.shape[1]
        if self.season > length:
            fix = "lengthen preprocess.window, or leave the season out"
            problem = f"the season ({self.season} rows) is longer than the window ({length})"
            raise ModelError(problem, place="task.season", fix=fix)

        def ago(history_BT: Tensor, season: int) -> Tensor:
            return history_BT[:, length - season + torch.arange(steps) % season]

        def error(season: int) -> float:
            return float((ago(history_BT, season) - future).square().mean())

        season = self.season or min(range(1, length + 1), key=error)
        predicted = ago(_history(rows), season)
        if not len(self.levels):
            return predicted
        off_QH = (future - ago(history_BT, season)).quantile(self.levels.to(future.dtype), dim=0)
        return predicted[..., None] + off_QH.T


def _history(batch: Batch) -> Tensor:
    """Return the series itself (B, T); further channels are covariates."""
    return next(column for name, column in batch.items() if name != "target" and column.ndim == 3)[..., 0]
