"""The section `tune` of a pipeline's YAML."""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.core.errors import PipelineError


@dataclass(frozen=True)
class TuneConfig:
    """How long the search is."""

    seconds: float = 60  # for the whole stage; 0 leaves the search out
    trials: int = 20  # the most there are, those in the ledger included
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise PipelineError(f"seconds is {self.seconds}", fix="give a number above 0, or 0 for no search")
        if self.trials < 1:
            raise PipelineError(f"trials is {self.trials}", fix="give at least 1")
