"""The section `validate` of a pipeline's YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from evergreen.core.errors import PipelineError


@dataclass(frozen=True)
class ValidateConfig:
    """What is asked of a candidate before it may be released."""

    confidence: float = 0.95  # of every interval and test, between 0.5 and 1
    resamples: int = 1000  # bootstrap drawings behind each interval; fewer above 20,000 test rows
    release_when: Literal["better", "not worse"] = "better"  # than the released version, on the same test rows
    margin: float = 0.01  # differences up to it do not matter: a share of the rows, or of the released version's error
    slices: dict[str, list[Any]] = field(default_factory=dict)  # name: [from, to], times of test rows, both included
    seed: int = 0  # of the bootstrap

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1:
            raise PipelineError(f"confidence is {self.confidence}", fix="give a share between 0.5 and 1, such as 0.95")
        if self.resamples < 100:
            raise PipelineError(f"resamples is {self.resamples}", fix="give 100 or more")
        if self.margin < 0:
            raise PipelineError(f"margin is {self.margin}", fix="give a share of 0 or more, such as 0.01")
        for name, bounds in self.slices.items():
            if len(bounds) != 2:
                raise PipelineError(f"slices: {name!r} has {len(bounds)} bounds", fix=f'write "{name}": [from, to]')
