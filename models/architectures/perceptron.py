"""The perceptron: one layer of threshold units."""

from typing import Literal

import torch
from torch import Tensor

from evergreen.core.errors import ModelError
from evergreen.models.base import Architecture, Batch, FieldLike, Inputs, Task
from evergreen.models.layers import FlattenInputs

CLASSES = ("category", "labels")  # targets that a threshold unit can be right or wrong about


class Perceptron(Architecture):
    """Perceptron (Rosenblatt 1958), one threshold unit for each class.

    Where a unit falls on the wrong side of its threshold, the input is added to its weights or taken from them; where
    it is right, nothing moves. `rule: logistic` trains the same units by the task's loss; so does a target that has
    no classes, which makes it the delta rule (Widrow and Hoff 1960).

    In: every kind, flattened, categories one-hot. Out: (B, F), F numbers of a row; the head holds the units.
    Choose it to show what a single layer can learn and what it cannot (XOR), never for use: `linear` is better.
    At size=1: digits 0.958 in 0.5 s of one core, logistic 0.970 (means of 5 splits).
    It has no size to turn; `size` is ignored.
    """

    ACCEPTS = frozenset({"*"})
    SEARCH_SPACE = {"learning_rate": (1e-3, 1e-1, "log"), "rule": ["rosenblatt", "logistic"]}
    DEFAULTS = {"optimizer": "sgd", "learning_rate": 0.03, "weight_decay": 0.0, "ema": 0.99, "keep": "last"}

    def __init__(
        self,
        inputs: Inputs,
        *,
        target: FieldLike,
        size: float = 1.0,
        rule: Literal["rosenblatt", "logistic"] = "rosenblatt",
    ) -> None:
        super().__init__()
        if rule not in ("rosenblatt", "logistic"):
            raise ModelError(f"{rule!r} is not a valid rule", place="perceptron", fix="use rosenblatt or logistic")
        self.flat = FlattenInputs(inputs)
        self.out_features = self.flat.width
        self.units = len(target.state["values"][0]) if rule == "rosenblatt" and target.kind in CLASSES else 0

    def forward(self, batch: Batch) -> Tensor:
        return self.flat(batch)

    def loss(self, batch: Batch, group: str, task: Task) -> Tensor:
        """Return the perceptron criterion: its negative gradient is Rosenblatt's correction, a mean over rows."""
        output = task(self(batch))
        if output.shape[1:] != (self.units,):
            return task.loss(output, batch["target"])
        return criterion(output, batch["target"])


def criterion(z_BK: Tensor, target: Tensor) -> Tensor:
    """Return Σ max(0, −y z) over the units, the mean over rows, y = ±1; a unit on its threshold is wrong.

    `target` is the class (B,), or 1 for each class that a row has (B, K).
    """
    has = target if target.ndim == 2 else torch.nn.functional.one_hot(target, z_BK.shape[1])
    signed = z_BK * (2 * has - 1)
    return -(signed * (signed <= 0)).sum(1).mean()
