"""Train a trial once more, to see that its score is a fact."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.stages.trials.space import Search
from evergreen.stages.trials.trial import Trial
from evergreen.stages.tune.config import TuneConfig
from evergreen.stages.tune.planned_search import open_search


def rerun_trial(config: TuneConfig, paths: Paths, number: int, *, task: str) -> dict[str, Any]:
    """Train a trial of the search once more, here and without Ray, as far as it went; compare the scores.

    Return its entry of the ledger, with "again", the score now, and "is_same". Raises PipelineError where the ledger
    knows no such trial of these rows, settings and this code.
    """
    planned = open_search(config, paths, task)
    trials = planned.finished().trials
    if number not in trials:
        many = f"trials 0 to {max(trials)}" if trials else "no trial"
        fix = f"evergreen trials {paths.name} lists all; evergreen run {paths.name} searches anew"
        raise PipelineError(f"of these rows, settings and this code {many} are recorded, not {number}", fix=fix)
    entry = trials[number]
    again, reason = _train(planned.search, entry)
    facts = {"again": again, "is_same": again == entry["score"], "metric": planned.search.metric[0]}
    return {**entry, **facts, **({"reason_again": reason} if reason else {})}


def _train(search: Search, entry: Mapping[str, Any]) -> tuple[float | None, str]:
    """Train as far as a trial went; return its score, or None and why it has none."""
    try:
        place = Path(search.ready), search.version, search.task, search.architecture
        trial = Trial(*place, search.selected | entry["options"], search.seed)
        if search.constraints and (broken := search.broken(trial.counts(search.quantities))):
            return None, f"breaks {broken}"
        goals = range(1, len(entry.get("curve") or [*range(search.chunks)]) + 1)
        scores = [trial.advance(chunk * trial.chunk, math.inf).value for chunk in goals]
    except (ValueError, ArithmeticError, RuntimeError) as error:
        return None, " ".join(str(error).split())
    return scores[-1], ""
