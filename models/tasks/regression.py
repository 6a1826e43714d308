"""Predict a number."""

import torch
from torch import Tensor

from evergreen.core.marks import Chart, Line, Section, Text
from evergreen.models.base import Batch, EvaluatedRows
from evergreen.models.tasks._pictures import MAX_POINTS, coverage
from evergreen.models.tasks._quantile import NumericTask


class Regression(NumericTask):
    """One number a row. Output (B,), or (B, Q) with quantiles; target (B,), standardised.

    Loss: least squares (Legendre 1805), least absolute deviations, Huber's (1964) or the pinball loss of quantiles
    (Koenker and Bassett 1978). Each answer has an interval that held on the validation rows (Lei et al. 2018).
    Metrics: R² (Wright 1921), root mean squared and mean absolute error. Baseline: the training rows' mean, or median.
    """

    VERSION = 2
    TARGETS = ("number",)
    APPLICATIONS = (("prices, demand per item, remaining life", "number category", "ask for quantiles"),)
    ESTIMATOR = "Regressor"
    REFERENCE = "ridge_regression"
    PLOT = "residuals"
    SCORES_PAIRS = True
    CROSS_VALIDATES = True
    METRICS = {"r2": "max", "rmse": "min", "mae": "min"}

    def scores(self, predicted: Tensor, actual: Tensor) -> dict[str, float]:
        error = predicted - actual
        spread = actual.var(correction=0)
        mse = error.square().mean()
        return {
            "r2": float(1 - mse / spread.clamp_min(torch.finfo(torch.float64).tiny)),
            "rmse": float(mse.sqrt()),
            "mae": float(error.abs().mean()),
        }

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return predicted against actual values."""
        answers, truth = rows.answers(), rows.truth
        pairs = [(actual, answer["prediction"]) for actual, answer in zip(truth, answers, strict=True)]
        cloud = Line("a test row", pairs[:: 1 + len(pairs) // MAX_POINTS], dots=True)
        chart = Chart([cloud], f"{rows.target_name}, actual", f"{rows.target_name}, predicted", diagonal=True)
        about = Text("On the dashed line a prediction is exact.", note=True)
        return Section("Predicted and actual values", [about, *coverage(answers, truth, self.coverage), chart])

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return the mean, median or quantiles of the training targets."""
        known, count = train["target"], len(rows["target"])
        if len(self.levels):
            return known.quantile(self.levels.to(known.dtype)).expand(count, -1)
        return (known.median() if self.kind == "mae" else known.mean()).expand(count)
