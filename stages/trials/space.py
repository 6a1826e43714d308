"""Describe a search: what is searched, by what, and which counted quantities weigh beside the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evergreen.models.registry import find_architecture

COUNTED = ("parameters", "operations", "size_bytes")  # of a network before it is trained
MEASURED = ("latency_ms",)  # likewise, but another machine or moment gives another number
ASYNCHRONOUS = ("asha", "hyperband")  # schedulers that judge a trial by those that happen to be as far
CHOSEN: dict[str, Any] = {  # by default
    **{"sampler": "tpe", "scheduler": "halving"},
    **{"space": {}, "objective": [], "constraints": [], "selected": {}},
}


@dataclass(frozen=True)
class Search:
    """Hold what all trials of one search share."""

    ready: str
    version: str  # of the folder `ready`
    task: str
    architecture: str
    defaults: dict[str, Any]  # of what is searched: what select chose, else the architecture's own
    metric: tuple[str, str]  # the one that decides, and "max" or "min"
    seed: int
    chunks: int  # of a trial that is not stopped
    sampler: str = "tpe"
    scheduler: str = "halving"
    space: dict[str, Any] = field(default_factory=dict)  # in the place of the architecture's own, {} is that one
    objective: Sequence[str] = ()  # counted quantities to keep small beside the score
    constraints: Sequence[str] = ()  # such as "parameters <= 1e6"
    repeats: int = 1  # seeds by which the best trials are judged
    error: float = 0.0  # standard error of the score, from the race
    selected: dict[str, Any] = field(default_factory=dict)  # options that select chose, in every trial if not searched

    def context(self) -> dict[str, Any]:
        """Return all that decides a trial's options and score, except the code."""
        shared = {"task": self.task, "architecture": self.architecture, "seed": self.seed}
        chosen = {name: getattr(self, name) for name, usual in CHOSEN.items() if getattr(self, name)}
        chosen = {name: value for name, value in chosen.items() if value != CHOSEN[name]}
        return {**shared, "data": self.version, "stretches": self.chunks, **chosen}

    @property
    def quantities(self) -> set[str]:
        """The quantities that weigh beside the score, in objectives and constraints."""
        return {*self.objective, *(split_constraint(one)[0] for one in self.constraints)}

    @property
    def timing(self) -> str:
        """The reason for which another run of the same search may choose otherwise, "" where it may not."""
        if self.scheduler in ASYNCHRONOUS:
            return f"{self.scheduler} compares trials as they come"
        return "".join(f"{name} is measured" for name in MEASURED if name in self.quantities)

    def broken(self, counts: Mapping[str, float]) -> str:
        """Return the first constraint that these quantities break, or ""."""
        return next((one for one in self.constraints if excess(one, counts) > 0), "")

    def choices(self) -> dict[str, Any]:
        """Return what is searched: per name a list of choices, or a range."""
        return self.space or find_architecture(self.architecture).SEARCH_SPACE


def bounds(choice: Any) -> tuple[float, float, bool]:
    """Return both ends of a range, and whether it is one of magnitudes."""
    if isinstance(choice, Mapping):
        return choice["low"], choice["high"], bool(choice.get("log"))
    low, high, *rest = choice
    return low, high, rest == ["log"]


def distribution(choice: Any) -> Any:
    """Return what is searched as Optuna's distribution."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(choice, list):
        return CategoricalDistribution(choice)
    low, high, log = bounds(choice)
    kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
    return kind(low, high, log=log)


def is_inside(choice: Any, value: Any) -> bool:
    """Tell whether a search may come upon a value."""
    if isinstance(choice, list):
        return value in choice
    low, high, _ = bounds(choice)
    return isinstance(value, int | float) and low <= value <= high


def excess(constraint: str, counts: Mapping[str, float]) -> float:
    """Return by which share of its limit a quantity is above it, negative where it is below."""
    name, limit = split_constraint(constraint)
    return counts[name] / limit - 1


def split_constraint(constraint: str) -> tuple[str, float]:
    """Split "parameters <= 1e6" into the quantity and its limit."""
    name, _, limit = constraint.partition("<=")
    return name.strip(), float(limit)
