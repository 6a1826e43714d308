"""Hold trials in a process on some machine, and train them on request."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from evergreen.core import parts
from evergreen.core.priority import lower_priority
from evergreen.data.spec import FeatureSpec
from evergreen.stages.engines.shared_storage import fetch_folder
from evergreen.stages.trials import out_of_fold
from evergreen.stages.trials.trial import Trial

MAX_ROWS = 20_000  # whose scores are compared in pairs
Answer = dict[str, Any]


class TrialWorker:
    """Make trials, keep them, and continue training each on request."""

    def __init__(self, common: tuple[str, str, str], own_parts: Mapping[str, str]) -> None:
        lower_priority()
        self.common = common
        parts.adopt(own_parts)
        self.trials: dict[tuple[str, int], Any] = {}

    def get_ready(self) -> None:
        """Read what all trials share. Raises DataError where this machine does not see the prepared data."""
        self.common = (str(fetch_folder(self.common[0])), *self.common[1:])
        FeatureSpec.load(Path(self.common[0]))

    def measure(self, name: str, seed: int, options: Mapping[str, Any]) -> Answer:
        """Count the work of an architecture; report a failure as a reason."""
        try:
            trial = self._trial(name, seed, options)
            if not options:
                self.trials[name, seed] = trial
            return {
                "work": asdict(trial.work()),
                "steps": trial.steps,
                "chunk": trial.chunk,
                "parameters": trial.parameters,
            }
        except (ValueError, ArithmeticError, RuntimeError) as error:  # one that cannot be built does not end the race
            return {"reason": f"it failed: {error}", "failed": True}

    def train_fold(self, plan: Mapping[str, Any], number: int, seconds: float) -> Answer:
        """Train one fold of a plan, whose answers it stores; report a failure as a reason."""
        started = time.monotonic()
        torch.set_num_threads(1)
        try:
            is_done = out_of_fold.train_fold(out_of_fold.FoldPlan(**plan).on_this_machine(), number, started + seconds)
        except (ValueError, ArithmeticError, RuntimeError) as error:  # one that cannot train does not end the race
            return {"reason": f"it failed: {error}", "failed": True}
        return {"seconds": time.monotonic() - started} if is_done else {"reason": "the time ran out"}

    def advance(self, name: str, seed: int, steps: int, seconds: float, options: Mapping[str, Any]) -> Answer:
        """Train a trial on to so many `steps`, or anew by a full run where that is 0; report a failure as a reason.

        A trial that goes on has its architecture's own options.
        """
        started = time.monotonic()
        try:
            trial = self.trials.get((name, seed)) if steps else None
            if trial is None:
                trial = self._trial(name, seed, options, in_one_go=not steps)
            if steps:
                self.trials[name, seed] = trial
            score = trial.advance(steps, seconds - (time.monotonic() - started))
            is_done = trial.loop.step >= steps if steps else trial.loop.is_finished
            if not is_done:
                return {"reason": "the time ran out"}
            answer = {"score": asdict(score), "parameters": trial.parameters, "error": trial.standard_error()}
            answer["gain"] = trial.recent_gain()
            rows = trial.row_scores()[:MAX_ROWS]
        except (ValueError, ArithmeticError, RuntimeError) as error:  # one that cannot train does not end the race
            return {"reason": f"it failed: {error}", "failed": True}
        return {**answer, "rows": rows, "predict_ms": trial.predict_ms}

    def _trial(self, name: str, seed: int, options: Mapping[str, Any], **how: Any) -> Trial:
        ready, version, task = self.common
        return Trial(Path(ready), version, task, name, options, seed, **how)
