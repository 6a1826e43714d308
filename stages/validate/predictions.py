"""What one model says to the test rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evergreen.models.chunked import PredictFn, iter_chunks
from evergreen.stages.validate.statistics import Array

if TYPE_CHECKING:
    from torch import Tensor

    from evergreen.models.base import Batch, Task


@dataclass(frozen=True)
class Predictions:
    """What one model says to all test rows, and the task that scores it. Outputs are made anew when they are asked for,
    a few rows at a time: all of them, of a large vocabulary say, need not fit into memory."""

    name: str
    task: Task
    rows: Batch  # (N, …) each: inputs and "target", as its own task encodes it
    predict_outputs: PredictFn

    @classmethod
    def from_output(cls, name: str, task: Task, output: Any, target: Tensor) -> Predictions:
        """One whose outputs (N, …) are known."""
        known = {"output": torch.as_tensor(output, dtype=torch.float32), "target": target}
        return cls(name, task, known, lambda rows: rows["output"])

    @property
    def target(self) -> Tensor:
        return self.rows["target"]

    @cached_property
    def metric_inputs(self) -> tuple[Tensor, Tensor]:
        """What the metrics of each row are computed from."""
        found = [
            self.task.metric_inputs(out, some["target"])
            for some, out in iter_chunks(self.predict_outputs, self.rows, whole=self.task.NEEDS_ALL_OUTPUTS)
        ]
        first, second = zip(*found, strict=True)
        return torch.cat(first), torch.cat(second)

    @cached_property
    def row_scores(self) -> Array:
        """(N,) right (1) or wrong (0), or another score, or an error."""
        rows: Array = self.task.row_scores(*self.metric_inputs).double().numpy()
        return rows

    @property
    def is_right_or_wrong(self) -> bool:
        return self.task.ROW_SCORE_GOAL == "max" and set(np.unique(self.row_scores)) <= {0.0, 1.0}

    def metrics(self, rows: Any = slice(None)) -> dict[str, float]:
        output, target = self.metric_inputs
        return self.task.metrics(output[rows], target[rows])

    def output(self, rows: Any = slice(None)) -> Tensor:
        """What is said to some rows, by default all, (n, …)."""
        some = {name: column[rows] for name, column in self.rows.items()}
        return torch.cat([output for _, output in iter_chunks(self.predict_outputs, some)])

    def answers(self, rows: Any = slice(None)) -> list[dict[str, Any]]:
        """As `output`, in words that a person reads."""
        some = {name: column[rows] for name, column in self.rows.items()}
        return [answer for _, output in iter_chunks(self.predict_outputs, some) for answer in self.task.decode(output)]
