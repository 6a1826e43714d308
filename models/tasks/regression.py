"""How large one number of a row is."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import Batch, FieldLike, Task
from models.units import Units


class Regression(Task):
    """Least squares (Legendre 1805) on the standardised target. Output (B,), target (B,)."""

    TARGET = "number"
    METRICS: ClassVar[dict[str, str]] = {"r2": "max", "rmse": "min", "mae": "min"}

    def __init__(self, target: FieldLike, features: int) -> None:
        super().__init__(target, features)
        self.units = Units(target)
        self.head = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> Tensor:
        y_B: Tensor = self.head(features)[:, 0]
        return y_B

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(output, target)

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        """The squared error, in the target's unit squared."""
        return (self.units(output) - self.units(target)).square()

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        error = self.units(output) - self.units(target)
        spread = self.units(target).var(correction=0)
        mse = error.square().mean()
        return {
            "r2": float(1 - mse / spread.clamp_min(torch.finfo(torch.float64).tiny)),
            "rmse": float(mse.sqrt()),
            "mae": float(error.abs().mean()),
        }

    def baseline(self, train_target: Tensor, rows: Batch, target: Tensor) -> Tensor:
        """The training rows' mean."""
        return train_target.mean().expand(target.shape[0])

    def answer(self, output: Tensor) -> list[dict[str, Any]]:
        return [{"prediction": value} for value in self.units(output).tolist()]
