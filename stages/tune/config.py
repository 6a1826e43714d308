"""The section `tune` of a pipeline's YAML: how long the search for options is."""

from typing import ClassVar

from pydantic import Field

from evergreen.core.config import Section, Seed


class TuneConfig(Section):
    """Say how long the search for the architecture's options is."""

    RENAMED: ClassVar = {"seconds": "time_budget_s"}

    time_budget_s: float = Field(60, ge=0, le=1e9)
    """Seconds for the whole stage; 0 leaves the search out."""
    trials: int = Field(20, ge=1, le=1_000_000)
    """The most trials there are, those of earlier runs included."""
    seed: Seed = 0
    """Of the search and of each trial."""
