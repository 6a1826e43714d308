"""Give the test rows to a task, which draws pictures of them (`Task.pictures`)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evergreen.core.marks import Mark
from evergreen.data import kinds
from evergreen.data.arrow import decode_array
from evergreen.data.field import TensorField
from evergreen.stages.validate.evidence import Evidence


class ShownRows:
    """Hold the test rows of an evaluation, as the contract `evergreen.models.base.EvaluatedRows` says."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence, self._candidate, self._spec = evidence, evidence.candidate, evidence.model.spec
        self.target_name, self.target = self._spec.target_name, self._candidate.target
        self.time = self._spec.time or ""
        self.output, self.answers = self._candidate.output, self._candidate.answers

    @cached_property
    def scores(self) -> Tensor:
        """Return the score of each row, (N,)."""
        return torch.from_numpy(self._candidate.row_scores)

    @property
    def metric_inputs(self) -> tuple[Tensor, Tensor]:
        """Return what the metrics are computed from: outputs and targets, (N, …)."""
        return self._candidate.metric_inputs

    @cached_property
    def truth(self) -> list[Any]:
        """Return the actual value of each row, in the data's units."""
        return self._evidence.truth()

    def spread(self, count: int) -> list[int]:
        """Return up to `count` row numbers, evenly spaced from the best row to the worst."""
        sign = 1 if self._candidate.task.ROW_SCORE_GOAL == "max" else -1
        order = np.argsort(sign * self._candidate.row_scores, kind="stable")
        places = np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))
        return [int(row) for row in order[places]]

    def inputs(self, rows: Sequence[int]) -> list[list[Mark]]:
        """Draw the inputs of each of these rows."""
        shown = [kinds.kind_of(field).show(field, self._columns(field, rows)) for field in self._spec.inputs.values()]
        return [[mark for marks in shown if (mark := marks[row])] for row in range(len(rows))]

    def targets(self, rows: Sequence[int], predicted: Sequence[Any] = ()) -> list[Mark | None]:
        """Draw the target of each of these rows, with the prediction over it where it is given."""
        field, inputs = self._spec.target, self.inputs(rows)
        over = [marks[0] for marks in inputs] if all(inputs) else []
        return list(kinds.kind_of(field).show_target(field, self._columns(field, rows), over, predicted))

    def values(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the raw values of these rows, by column."""
        chosen: list[dict[str, Any]] = self._evidence.table.take(list(rows)).select(self._spec.columns).to_pylist()
        return chosen

    def times(self) -> list[Any]:
        """Return the time of each row, or its number where the rows have no time."""
        table = self._evidence.table
        return table["_time"].to_pylist() if "_time" in table.column_names else list(range(self._evidence.rows))

    def groups(self) -> list[str]:
        """Return the series or group of each row; empty strings where there is none."""
        for field in self._spec.inputs.values():
            if kinds.kind_of(field).grouped and "values" in field.state:
                return [str(value) for value in self._evidence.table[field.columns[0]].to_pylist()]
        return [""] * self._evidence.rows

    def others(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the `metric_inputs` of the models that the candidate is compared with, by name."""
        others = {"the baseline": self._evidence.baseline, "the simple model": self._evidence.reference}
        return {name: scored.metric_inputs for name, scored in others.items() if scored is not None}

    def train_target(self) -> Tensor:
        """Return the encoded targets of the training rows."""
        return torch.as_tensor(self._evidence.train["target"])

    def _columns(self, field: TensorField, rows: Sequence[int]) -> list[Any]:
        table = self._evidence.table.take(list(rows))
        return [decode_array(table.column(name)) for name in field.columns]
