"""The section `select` of a pipeline's YAML."""

from __future__ import annotations

from dataclasses import dataclass, field

from evergreen.core.errors import PipelineError


@dataclass(frozen=True)
class SelectConfig:
    """How long and how wide the race is."""

    seconds: float = 60  # for the whole stage
    seeds: int = 3  # with which finalists are scored
    folds: int = 0  # of the training and validation rows, over which finalists are scored instead of seeds; 0: seeds
    architectures: list[str] = field(default_factory=list)  # empty: every one that accepts the inputs
    rungs: list[int] = field(default_factory=lambda: [1, 3, 9, 27])  # stretches of epochs, see stages/trials/trial.py
    keep: int = 3  # one in so many goes on to the next rung
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise PipelineError(f"seconds is {self.seconds}", fix="give a number above 0")
        if self.seeds < 1:
            raise PipelineError(f"seeds is {self.seeds}", fix="give at least 1")
        if self.folds < 0 or self.folds == 1:
            raise PipelineError(f"folds is {self.folds}", fix="give at least 2, or 0 to score with seeds")
        if self.keep < 2:
            raise PipelineError(f"keep is {self.keep}", fix="give at least 2")
        if not self.rungs or sorted(set(self.rungs)) != self.rungs or self.rungs[0] < 1:
            raise PipelineError(f"rungs is {self.rungs}", fix="give growing whole numbers such as [1, 3, 9, 27]")
