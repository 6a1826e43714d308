"""Plan a search: how many trials there are, and how long one is, from rows, settings and counted work alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evergreen.stages.trials.race_plan import CAP, START_SECONDS, scale

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.stages.tune.config import TuneConfig

WORK = 40.0  # nominal seconds of one core, see models/work.py
CHUNKS = (27, 9, 3)  # of a trial that is not stopped, see stages/trials/trial.py: the most of which FULL_TRIALS fit
FULL_TRIALS = 8  # trials: about what 20 cost of which most are stopped early
STOPPED_SHARE = 0.3  # of a whole trial's work that a trial of a later batch takes on average


@dataclass(frozen=True)
class Plan:
    """Say how large a search is."""

    trials: int  # 0 where one would be more work than all may be
    chunks: int  # of a trial that is not stopped
    cap_seconds: float  # after which it is cut off where the YAML sets no limit


def plan(config: TuneConfig, paths: Paths, version: str, task: str, raced: Mapping[str, Any]) -> Plan:
    """Plan the search for the options of an architecture on prepared rows; `raced` is its row of the leaderboard."""
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.trials.trial import Trial, chunk_steps, max_rows

    epoch, steps = (raced.get("work") or {}).get("epoch"), raced.get("steps")
    if not epoch or not steps:  # it was named alone, so there was no race
        try:
            trial = Trial(paths.ready, version, task, raced["architecture"], raced.get("options", {}), config.seed)
        except (ValueError, ArithmeticError, RuntimeError):  # the first trial says what is wrong
            return Plan(1, CHUNKS[-1], START_SECONDS + CAP * WORK)
        epoch, steps = trial.work().epoch, trial.steps
    total = WORK * scale(max_rows(FeatureSpec.load(paths.ready))["train"], config.planned_effort)
    return size(config.trials, epoch * chunk_steps(steps) / steps, total)


def size(trials: int, chunk: float, total: float) -> Plan:
    """Return the plan of at most so many trials whose chunks cost `chunk` nominal seconds, `total` together."""
    from evergreen.stages.trials.samplers import BATCH

    chunks = next((length for length in CHUNKS if FULL_TRIALS * length * chunk <= total), CHUNKS[-1])
    whole = total / (chunk * chunks)  # trials
    affordable = trials if whole >= FULL_TRIALS else int(min(whole, BATCH) + max(0.0, whole - BATCH) / STOPPED_SHARE)
    return Plan(min(trials, affordable), chunks, START_SECONDS + CAP * total)
