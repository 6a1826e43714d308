"""Predict the test rows with one model, and score them by its task."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from evergreen.models.base import Batch, Task
from evergreen.models.chunked import PredictFn, iter_chunks
from evergreen.stages.validate.statistics import Array


@dataclass(frozen=True)
class Predictions:
    """Hold a model, the test rows, and the task that scores the predictions.

    Outputs are computed again each time, chunk by chunk, since all may not fit into memory (a large vocabulary).
    """

    name: str
    task: Task
    rows: Batch  # (N, …) each: inputs and "target", as its own task encodes it
    predict_outputs: PredictFn

    @classmethod
    def from_output(cls, name: str, task: Task, output: Any, target: Tensor) -> Self:
        """Wrap outputs (N, …) that are already computed."""
        known = {"output": torch.as_tensor(output, dtype=torch.float32), "target": target}
        return cls(name, task, known, lambda rows: rows["output"])

    @property
    def target(self) -> Tensor:
        """Return the encoded targets, (N, …)."""
        return self.rows["target"]

    @cached_property
    def metric_inputs(self) -> tuple[Tensor, Tensor]:
        """Compute what the metrics need: outputs and targets, (N, …)."""
        chunks = [
            self.task.metric_inputs(out, chunk["target"])
            for chunk, out in iter_chunks(self.predict_outputs, self.rows, in_one_chunk=self.task.NEEDS_ALL_OUTPUTS)
        ]
        first, second = zip(*chunks, strict=True)
        return torch.cat(first), torch.cat(second)

    @cached_property
    def row_scores(self) -> Array:
        """Compute a number for each row, (N,): right (1) or wrong (0), another score, or an error."""
        return self.task.row_scores(*self.metric_inputs).double().numpy()

    @cached_property
    def hits(self) -> Array | None:
        """Compute 1 where a row's answer is right, else 0, (N,); None where answers are not simply right or wrong."""
        hits = self.task.hits(*self.metric_inputs)
        if hits is not None:
            return hits.double().numpy()
        return self.row_scores if self.is_right_or_wrong else None

    @property
    def is_right_or_wrong(self) -> bool:
        """Tell whether every row's score is simply right (1) or wrong (0)."""
        return self.task.ROW_SCORE_GOAL == "max" and set(np.unique(self.row_scores)) <= {0.0, 1.0}

    @cached_property
    def overall_metrics(self) -> dict[str, float]:
        """Compute the task's metrics on all rows."""
        return self.metrics()

    def metrics(self, rows: Any = slice(None), others: Any = None) -> dict[str, float]:
        """Compute the task's metrics on `rows`, by default all; with the targets of `others` where they are given."""
        output, target = self.metric_inputs
        return self.task.metrics(output[rows], target[rows if others is None else others])

    def output(self, rows: Any = slice(None)) -> Tensor:
        """Return the outputs (n, …) for `rows`, by default all."""
        batch = {name: column[rows] for name, column in self.rows.items()}
        return torch.cat([output for _, output in iter_chunks(self.predict_outputs, batch)])

    def answers(self, rows: Any = slice(None)) -> list[dict[str, Any]]:
        """Return the predictions for `rows`, by default all, in the data's units."""
        batch = {name: column[rows] for name, column in self.rows.items()}
        return [answer for _, output in iter_chunks(self.predict_outputs, batch) for answer in self.task.decode(output)]
