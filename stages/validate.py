"""Proves what a candidate is worth on rows it has never seen: against the baseline, a simple model, the released one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stages.progress import Progress, quiet

if TYPE_CHECKING:
    from stages.artifacts import Paths


@dataclass(frozen=True)
class Params:
    """What is asked of a candidate before it may be released."""

    confidence: float = 0.95  # of every interval and test, between 0.5 and 1
    resamples: int = 1000  # bootstrap drawings behind each interval
    release_when: Literal["better", "not worse"] = "better"  # than the released version, on the same test rows
    margin: float = 0.01  # differences up to it do not matter: a share of the rows, or of the released version's error
    slices: dict[str, list[Any]] = field(default_factory=dict)  # name: [from, to], times of test rows, both included
    seed: int = 0  # of the bootstrap


def run(params: Params, paths: Paths, *, task: str, progress: Progress = quiet) -> dict[str, Any]:
    raise NotImplementedError


if __name__ == "__main__":
    from stages.pipeline import main

    main("validate")
