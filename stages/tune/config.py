"""The section `tune` of a pipeline's YAML: how long the search for options is, what searches, and for what."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from evergreen.core.config import DIFFERENT, Section, Seed, Value, show_value
from evergreen.core.errors import PipelineError, suggest

FIXED = ("epochs", "stop_epoch", "schedule", "patience", "keep", "seed", "checkpoint_seconds")  # alike in all trials
ENDS = ("low", "high", "log")  # keys of a range
ASKING = {"trials", "time_budget_s", "sampler", "scheduler", "space", "objective", "constraints", "repeats"}
LIMIT = re.compile(r"(parameters|operations|size_bytes|latency_ms) *<= *\d+(\.\d*)?([eE]\+?\d{1,2})?")


class TuneConfig(Section):
    """Say how long the search for the architecture's options is, what searches, and for what."""

    RENAMED: ClassVar = {"seconds": "time_budget_s"}

    effort: float | None = Field(None, ge=0, le=1e6)
    """How much work the search may be, as a multiple of what Evergreen plans for so many rows; 0 leaves it out.

    By default there is none, unless another key but `seed` asks for one: then it is 1."""
    time_budget_s: float | None = Field(None, ge=0, le=1e9)
    """Seconds after which the search is cut off and the choice is provisional; by default it ends with its plan."""
    trials: int = Field(20, ge=1, le=1_000_000)
    """The most trials there are, those of earlier runs included."""
    seed: Seed = 0
    """Of the search and of each trial."""
    sampler: Literal["tpe", "random", "cmaes", "gp"] = "tpe"
    """Which of Optuna's samplers proposes trials; cmaes needs the package of this name."""
    scheduler: Literal["halving", "median", "asha", "hyperband", "none"] = "halving"
    """What stops a trial early: one in three goes on, those above the median, or all.

    asha, hyperband: one in three of those that happen to be as far, so that another run may choose otherwise."""
    space: dict[str, list[Value] | dict[str, Value]] = Field({}, max_length=100)
    """What is searched instead of the architecture's own: a list of choices, or {low: 1, high: 9, log: true}."""
    objective: Annotated[
        list[Literal["parameters min", "operations min", "size_bytes min", "latency_ms min"]],
        *DIFFERENT,
        Field(max_length=4),
    ] = []
    """What is counted and kept small, among trials within one standard error of the best score.

    latency_ms is measured, of an answer to one row: another run may choose otherwise."""
    constraints: list[str] = Field([], max_length=10)
    """Limits to parameters, operations and latency_ms (of one answer) or size_bytes; what breaks one is not trained."""
    repeats: int = Field(1, ge=1, le=100)
    """Seeds with which the best trials and the defaults are done; the mean score decides."""

    @property
    def planned_effort(self) -> float:
        """The effort, also where the YAML does not say it."""
        if self.time_budget_s == 0:
            return 0.0
        is_asked_for = bool(self.model_fields_set & ASKING)
        return float(is_asked_for) if self.effort is None else self.effort

    @property
    def counted(self) -> list[str]:
        """The counted quantities that are objectives."""
        return [one.partition(" ")[0] for one in self.objective]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sampler == "cmaes" and self.objective:
            raise PipelineError("objective: cmaes serves the score alone", fix="use sampler: tpe, random or gp")
        for constraint in self.constraints:
            if not LIMIT.fullmatch(constraint) or not float(constraint.partition("<=")[2]):
                problem = f"constraints: {show_value(constraint)} is no limit"
                raise PipelineError(problem, fix="write parameters <= 1e6, or operations, size_bytes or latency_ms")
        for name, choice in self.space.items():
            if name in FIXED:
                problem = f"space: {name} is the same in all trials"
                raise PipelineError(problem, fix=f"leave it out, or set it under train: {', '.join(FIXED[:4])} …")
            _check_choice(f"space.{name}", choice)
        return self


def _check_choice(place: str, choice: Any) -> None:
    """Raise PipelineError for what is neither choices nor a range."""
    if isinstance(choice, list):
        if len(choice) < 2 or len({repr(one) for one in choice}) < len(choice):
            raise PipelineError(f"{place} must be at least 2 choices that differ", fix="write [a, b], or a range")
        return
    if unknown := [key for key in choice if key not in ENDS]:
        raise PipelineError(f"{place}: unknown key {unknown[0]!r}", fix=suggest(unknown[0], ENDS, "known keys"))
    low, high, log = (choice.get(key) for key in ENDS)
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)):
        missing = next(key for key in ENDS if isinstance(choice.get(key), bool | str | None))
        problem = f"{place}.{missing} must be a number, got {show_value(choice.get(missing))}"
        raise PipelineError(problem, fix="write {low: 1, high: 9}, with log: true for magnitudes")
    if not low < high or (log and low <= 0):
        problem = f"{place} is from {show_value(low)} to {show_value(high)}"
        raise PipelineError(problem, fix="low must be below high" + ", and above 0 with log: true" * bool(log))
    if not isinstance(log, bool | None):
        raise PipelineError(f"{place}.log must be true or false, got {show_value(log)}")
