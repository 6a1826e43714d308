"""Define what a task sees of the test rows when it draws them."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from evergreen.core.marks import Mark


class EvaluatedRows(Protocol):
    """The test rows as a task draws them: what they are, what the model predicts, and the marks of their kinds.

    Rows are chosen by their numbers; by default all are.
    """

    @property
    def target_name(self) -> str:
        """The column that is predicted."""

    @property
    def target(self) -> Tensor:
        """(N, …) encoded."""

    @property
    def scores(self) -> Tensor:
        """(N,) results of `Task.row_scores`."""

    @property
    def metric_inputs(self) -> tuple[Tensor, Tensor]:
        """The results of `Task.metric_inputs` over all rows."""

    @property
    def truth(self) -> list[Any]:
        """The actual values in the data's units."""

    @property
    def time(self) -> str:
        """The column that rows are ordered by; "" where there is none."""

    def output(self, rows: Any = slice(None)) -> Tensor:
        """Return what the head gives, (n, …)."""

    def answers(self, rows: Any = slice(None)) -> list[dict[str, Any]]:
        """Return the answers as a person reads them."""

    def spread(self, count: int) -> list[int]:
        """Return rows at even distances in the order of their scores, the worst first."""

    def inputs(self, rows: Sequence[int]) -> list[list[Mark]]:
        """Return the marks of each row's inputs, those that have one."""

    def targets(self, rows: Sequence[int], predicted: Sequence[Any] = ()) -> list[Mark | None]:
        """Return the mark of each row's actual target, drawn over its first input, beside predictions in JSON."""

    def values(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return each row's input columns."""

    def times(self) -> list[Any]:
        """Return where each row lies in time, or its number."""

    def groups(self) -> list[str]:
        """Return the first category among the inputs of each row, which names its series; "" where there is none."""

    def others(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the facts of the models that the candidate is compared with, by name."""

    def train_target(self) -> Tensor:
        """Return the encoded targets of the training rows, (M, …)."""
