"""The linear anchor: what every other architecture has to beat."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from models.base import Architecture, Batch, Choice, Inputs
from models.layers import Flat


class Linear(Architecture):
    """Linear and logistic regression (Legendre 1805; Cox 1958), ridge-penalised (Hoerl and Kennard 1970)."""

    ACCEPTS = frozenset({"number", "category", "image", "series"})
    SPACE: ClassVar[dict[str, Choice]] = {"weight_decay": (1e-4, 1.0, "log")}
    RECIPE: ClassVar[dict[str, Any]] = {
        "optimizer": "adam",
        "learning_rate": 0.05,
        "weight_decay": 0.02,
        "keep": "last",
    }

    def __init__(self, inputs: Inputs, *, size: float = 1.0) -> None:
        super().__init__()
        self.flat = Flat(inputs)
        self.features = self.flat.width

    def forward(self, batch: Batch) -> Tensor:
        x_BF: Tensor = self.flat(batch)
        return x_BF
