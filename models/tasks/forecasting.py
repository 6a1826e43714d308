"""The next H values of a series."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from models.base import Batch, FieldLike, Task
from models.units import Units


class Forecasting(Task):
    """Least squares on all H steps at once (the direct strategy: Ben Taieb et al. 2012). Output (B, H), target (B, H).

    The history and the target are standardised by the same mean and deviation.
    """

    TARGET = "series"
    METRICS: ClassVar[dict[str, str]] = {"mse": "min", "mae": "min"}

    def __init__(self, target: FieldLike, features: int) -> None:
        super().__init__(target, features)
        self.units = Units(target)
        self.head = nn.Linear(features, target.shape[0])

    def forward(self, features: Tensor) -> Tensor:
        y_BH: Tensor = self.head(features)
        return y_BH

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(output, target)

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        """The squared error, a mean over the horizon, in the series' unit squared."""
        return (self.units(output) - self.units(target)).square().mean(1)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        error = self.units(output) - self.units(target)
        return {"mse": float(error.square().mean()), "mae": float(error.abs().mean())}

    def baseline(self, train_target: Tensor, rows: Batch, target: Tensor) -> Tensor:
        """The last known value, for all steps ahead."""
        history_BTC = next(column for column in rows.values() if column.ndim == 3)
        return history_BTC[:, -1, :1].expand(target.shape)

    def answer(self, output: Tensor) -> list[dict[str, Any]]:
        return [{"prediction": row} for row in self.units(output).tolist()]
