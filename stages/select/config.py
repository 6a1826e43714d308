"""The section `select` of a pipeline's YAML: how architectures are compared."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from evergreen.core.config import Names, Section, Seed
from evergreen.core.errors import PipelineError


class SelectConfig(Section):
    """Say how wide the comparison of architectures is."""

    RENAMED: ClassVar = {"seconds": "time_budget_s", "keep": "reduction_factor"}

    effort: float = Field(1.0, gt=0, le=1e6)
    """How much work the comparison may be, as a multiple of what Evergreen plans for so many rows."""
    time_budget_s: float | None = Field(None, gt=0, le=1e9)
    """Seconds after which the comparison is cut off and the choice is provisional; by default it ends with its plan."""
    seeds: int = Field(3, ge=1, le=1000)
    """Seeds with which finalists are scored."""
    folds: int | None = Field(None, ge=0, le=1000)
    """Folds of the training and validation rows over which finalists are scored instead of seeds; 0: seeds.

    By default 5 up to 3,000 rows, 10,000 of a table, in no order of time, if at least 2 of them fit into the plan."""
    architectures: Names = []
    """Names of those to compare; empty: every one that accepts the inputs."""
    rungs: list[Annotated[int, Field(ge=1, le=1_000_000)]] = Field([1, 3, 9, 27], min_length=1, max_length=100)
    """A rung for each, after which the worst are dropped; it trains by its share of the work, so many chunks at most
    where the whole training is shorter."""
    reduction_factor: int = Field(3, ge=2, le=1000)
    """One in so many goes on to the next rung."""
    seed: Seed = 0
    """Of the networks' first weights and the order of rows."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.folds == 1:
            raise PipelineError("folds is not valid (got 1)", fix="use at least 2, or 0 to score with seeds")
        if sorted(set(self.rungs)) != self.rungs:
            fix = "use growing whole numbers such as [1, 3, 9, 27]"
            raise PipelineError(f"rungs are not valid (got {self.rungs})", fix=fix)
        return self
