"""The section `validate` of a pipeline's YAML: what a candidate must achieve."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from evergreen.core.config import Moment, Section, Seed, is_before
from evergreen.core.errors import PipelineError


class ValidateConfig(Section):
    """Say what a candidate must achieve before it may be released."""

    RENAMED: ClassVar = {"resamples": "bootstrap_samples", "margin": "equivalence_margin"}

    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Confidence of every interval and test."""
    bootstrap_samples: int = Field(1000, ge=100, le=1_000_000)
    """Bootstrap samples behind each interval; fewer are drawn above 20,000 test rows."""
    release_when: Literal["better", "not worse"] = "better"
    """What the candidate must be, against the released version on the same test rows."""
    equivalence_margin: float = Field(0.01, ge=0, le=1)
    """Largest difference that does not matter: a fraction of the released version's error or score, or of the rows."""
    slices: dict[str, Annotated[list[Moment], Field(min_length=2, max_length=2)]] = {}
    """Time ranges to score separately: name: [from, to], both included."""
    seed: Seed = 0
    """Seed of the bootstrap."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, (first, last) in self.slices.items():
            if isinstance(first, str) != isinstance(last, str) or is_before(last, first):
                problem = f"slices.{name[:100]!r} is [{first!r}, {last!r}]"
                raise PipelineError(problem, fix="give the first time and the last, both as numbers or both as dates")
        return self
