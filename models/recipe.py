"""Every number of a training run, and what follows from them: the optimiser and the learning rate at each step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from models.base import ModelError, nearest

CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("cosine", "constant"),
    "keep": ("best", "last"),
    "precision": ("float32", "bfloat16", "float16"),
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. A step is one update of the weights."""

    epochs: int = 40  # passes over the training rows
    batch_size: int = 32  # rows of one batch, over all ranks
    learning_rate: float = 2e-3  # at its peak
    weight_decay: float = (
        1e-2  # of matrices, not of norms and biases; decoupled (adamw) or as an L2 penalty (adam, sgd)
    )
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_share: float = 0.05  # share of all steps in which a cosine schedule climbs to its peak
    clip: float = 0.0  # largest norm of a group's gradient, 0 is off
    accumulate: int = 1  # batches whose gradients make one step
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of matrix products; weights stay float32
    ema: float = 0.0  # share of the running mean of the weights that a step keeps (0.99 averages ~100 steps), 0 is off
    patience: int = 0  # epochs without a better validation after which training ends, 0 is never
    keep: Literal["best", "last"] = "best"  # the epoch whose weights are the result: the best validated, or the last
    seed: int = 0
    checkpoint_seconds: float = 60.0  # between two checkpoints; 0 is after every step

    def __post_init__(self) -> None:
        for name, right in CHOICES.items():
            if getattr(self, name) not in right:
                raise ModelError(f"{name} is {getattr(self, name)!r}", place="recipe", fix=f"choose {', '.join(right)}")
        for name in ("epochs", "batch_size", "accumulate"):
            self._at_least(name, 1)
        for name in ("weight_decay", "clip", "ema", "warmup_share", "patience", "checkpoint_seconds"):
            self._at_least(name, 0)
        if not self.learning_rate > 0:
            raise ModelError(f"learning_rate is {self.learning_rate}", place="recipe", fix="give a number above 0")

    def _at_least(self, name: str, least: int) -> None:
        if not getattr(self, name) >= least:
            raise ModelError(f"{name} is {getattr(self, name)}", place="recipe", fix=f"give at least {least}")

    def but(self, **changes: Any) -> Recipe:
        """This recipe with some values changed; ModelError with the nearest right name for an unknown one."""
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise ModelError(f"there is no {name!r}", place="recipe", fix=nearest(name, known))
        return dataclasses.replace(self, **changes)

    def optimiser(self, parameters: Iterable[Parameter]) -> Optimizer:
        """A fused optimiser of one parameter group; vectors and scalars (norms, biases) do not decay."""
        weights = [parameter for parameter in parameters if parameter.requires_grad]
        groups = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=self.learning_rate, momentum=0.9, nesterov=True, fused=True)
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(groups, lr=self.learning_rate, fused=True)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate at a step of `steps` in all: constant, or a climb and half a cosine down to 0
        (Loshchilov and Hutter 2017)."""
        if self.schedule == "constant":
            return self.learning_rate
        warmup = round(self.warmup_share * steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        share = min(1.0, (step - warmup) / max(1, steps - warmup))
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2
