"""Widen answers until they hold for a stated share of rows: intervals of numbers, sets of classes.

Split conformal prediction (Vovk, Gammerman and Shafer 2005, chapter 4; Lei et al. 2018): how far off the model's own
answers were on test rows, which it has not learned from and which `validate` stored, says how far a new answer may be
off. The share holds on average over rows that come as the test rows came, whatever the model is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import pyarrow.parquet as pq
from torch import Tensor

from evergreen.core.errors import DataError
from evergreen.data.parquet import read_file
from evergreen.models.answers import Objects


@runtime_checkable
class WidensAnswers(Protocol):
    """The contract of a task whose answers can be widened."""

    def misses(self, stored: Mapping[str, list[Any]]) -> Tensor | None:
        """Return how far off each stored answer is (N, …), from columns of predictions.parquet; None where unknown."""

    def widen(self, answers: Objects, limit: Tensor) -> Objects:
        """Return answers with all that is at most `limit` (…) off: a set, or low and high."""


class Coverage:
    """Hold by how much a version was off on test rows, sorted: `misses` (N, …)."""

    def __init__(self, task: WidensAnswers, misses: Tensor) -> None:
        self.task, self.misses = task, misses.sort(0).values

    @classmethod
    def load(cls, task: object, predictions: Path | None) -> Self | None:
        """Read the answers that `validate` stored; None where there are none, or the task cannot use them."""
        if predictions is None or not predictions.is_file() or not isinstance(task, WidensAnswers):
            return None
        names = [name for name in pq.read_schema(predictions).names if not name.startswith("_")]
        misses = task.misses(read_file(predictions, columns=names).to_pydict())
        return None if misses is None else cls(task, misses)

    def widen(self, answers: Objects, share: float) -> Objects:
        """Return answers that hold for a `share` of rows. Raises DataError where that takes more stored rows."""
        n_rows = len(self.misses)
        rank = math.ceil((n_rows + 1) * share)
        if rank > n_rows:
            needed = math.ceil(round(share / (1 - share), 6))
            problem = f"a coverage of {share:g} needs {needed:,} answered test rows, and the release stores {n_rows:,}"
            most = math.floor(1000 * n_rows / (n_rows + 1)) / 1000
            raise DataError(problem, place="coverage", fix=f"ask for at most {most}")
        return self.task.widen(answers, self.misses[rank - 1])
