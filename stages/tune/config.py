"""The section `tune` of a pipeline's YAML: how long the search for options is."""

from typing import ClassVar

from pydantic import Field

from evergreen.core.config import Section, Seed


class TuneConfig(Section):
    """Say how long the search for the architecture's options is."""

    RENAMED: ClassVar = {"seconds": "time_budget_s"}

    effort: float | None = Field(None, ge=0, le=1e6)
    """How much work the search may be, as a multiple of what Evergreen plans for so many rows; 0 leaves it out.

    By default there is none, unless `trials` or `time_budget_s` asks for one: then it is 1."""
    time_budget_s: float | None = Field(None, ge=0, le=1e9)
    """Seconds after which the search is cut off and the choice is provisional; by default it ends with its plan."""
    trials: int = Field(20, ge=1, le=1_000_000)
    """The most trials there are, those of earlier runs included."""
    seed: Seed = 0
    """Of the search and of each trial."""

    @property
    def planned_effort(self) -> float:
        """The effort, also where the YAML does not say it."""
        if self.time_budget_s == 0:
            return 0.0
        is_asked_for = bool(self.model_fields_set & {"trials", "time_budget_s"})
        return float(is_asked_for) if self.effort is None else self.effort
