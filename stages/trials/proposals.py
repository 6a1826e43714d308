"""Give Ray Tune a search in batches, so that neither the number of workers nor their speed decides anything.

A batch is proposed by a sampler that knows all trials of the batches before, in the order of their numbers, and whose
seed follows from the search's and the batch's number. A trial is compared, and may be stopped, with trials of earlier
batches alone. So a search that is killed, cut off or spread over more machines finds what it would have found. Only
asha and hyperband, which the YAML may name, compare trials as they come.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.stages.trials.early_stopping import FACTOR, RUNGS, is_promoted
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.ranking import order
from evergreen.stages.trials.samplers import BATCH, propose
from evergreen.stages.trials.space import ASYNCHRONOUS, COUNTED, MEASURED, Search

if TYPE_CHECKING:
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler
    from ray.tune.search import Searcher

BRACKETS = 3  # of hyperband: the first stops most trials soonest
REPEATED = 3  # of the best trials are done with further seeds, and the defaults


class Finished:
    """Hold what a ledger knows of a search: its trials by number, and their repeats by number and repeat."""

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self.trials: dict[int, Mapping[str, Any]] = {}
        self.repeats: dict[tuple[int, int], Mapping[str, Any]] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add an entry of the ledger."""
        if "repeat" in entry:
            self.repeats[entry["number"], entry["repeat"]] = entry
        else:
            self.trials[entry["number"]] = entry

    def pending_repeats(self, search: Search, trials: int) -> list[tuple[int, int]]:
        """Return number and repeat of what is to be done with another seed, once all trials are there."""
        if search.repeats == 1 or any(number not in self.trials for number in range(trials)):
            return []
        scored = [entry for entry in map(self.trials.get, range(trials)) if entry and entry["score"] is not None]
        ranked = order(search, [entry for entry in scored if entry["state"] == "finished"])[:REPEATED]
        chosen = [*ranked, *(entry for entry in scored if entry["options"] == search.defaults and entry not in ranked)]
        wanted = [(entry["number"], repeat) for repeat in range(1, search.repeats) for entry in chosen]
        return [key for key in wanted if key not in self.repeats]


def batched_proposals(search: Search, done: Finished, trials: int) -> Searcher:
    """Return Tune's searcher: it waits for the end of a batch before it proposes the next."""
    from ray.tune.search import Searcher

    class Batches(Searcher):
        def __init__(self) -> None:
            super().__init__(metric="rank", mode="max")
            self.next, self.batch = 0, -1
            self.points: list[dict[str, Any]] = []
            self.again: list[tuple[int, int]] | None = None

        def suggest(self, _trial_id: str) -> dict[str, Any] | str | None:
            while self.next in done.trials:
                self.next += 1
            number = self.next
            if number >= trials:
                return self._suggest_repeat()
            batch, place = divmod(number, BATCH)
            if any(earlier not in done.trials for earlier in range(batch * BATCH)):
                return None
            if self.batch != batch:
                self.batch, self.points = batch, propose(search, done.trials, batch)
            self.next += 1
            return {"number": number, "options": self.points[place]}

        def _suggest_repeat(self) -> dict[str, Any] | str | None:
            if search.repeats > 1 and any(number not in done.trials for number in range(trials)):
                return None
            if self.again is None:
                self.again = done.pending_repeats(search, trials)
            if not self.again:
                return str(Searcher.FINISHED)
            number, repeat = self.again.pop(0)
            return {"number": number, "options": done.trials[number]["options"], "repeat": repeat}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Hear nothing: what is done stands in the ledger."""

        def save(self, checkpoint_path: str) -> None:
            """Save nothing: the ledger is all there is to know."""

        def restore(self, checkpoint_path: str) -> None:
            """Restore nothing."""

    return Batches()


def make_stopper(search: Search, done: Finished) -> FIFOScheduler:
    """Return Tune's scheduler: it stops a trial that others leave no hope, by default those of the batches before."""
    return _asynchronous_stopper(search) if search.scheduler in ASYNCHRONOUS else _batch_stopper(search, done)


def _asynchronous_stopper(search: Search) -> FIFOScheduler:
    """Return Tune's asynchronous halving (Li et al. 2020), in one bracket or in those of hyperband."""
    from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

    class Stopper(AsyncHyperBandScheduler):
        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            if "repeat" in trial.config:
                return str(FIFOScheduler.CONTINUE)
            return str(super().on_trial_result(controller, trial, result))

    ends = {"grace_period": max(1, search.chunks // max(RUNGS)), "max_t": search.chunks, "reduction_factor": FACTOR}
    brackets = min(BRACKETS, round(math.log(search.chunks, FACTOR))) if search.scheduler == "hyperband" else 1
    return Stopper(metric="rank", mode="max", brackets=brackets, **ends)


def _batch_stopper(search: Search, done: Finished) -> FIFOScheduler:
    from ray.tune.schedulers import FIFOScheduler

    class Stopper(FIFOScheduler):
        def on_trial_result(self, _controller: Any, trial: Any, result: dict[str, Any]) -> str:
            goes_on = "repeat" in trial.config or is_promoted(
                search, done.trials, trial.config["number"], result["training_iteration"], result
            )
            return str(FIFOScheduler.CONTINUE if goes_on else FIFOScheduler.STOP)

    return Stopper()


def ledger_callback(
    search: Search, ledger: Ledger, done: Finished, cut: list[dict[str, Any]], until: float
) -> tune.Callback:
    """Return Tune's callback that records each finished trial, and keeps in `cut` those that the clock cut off."""
    from ray import tune

    curves: dict[tuple[int, int], list[float]] = {}

    class Watch(tune.Callback):
        def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
            curve = curves.setdefault(_key(trial), [])
            curve[result["training_iteration"] - 1 :] = [result["rank"]]  # one whose process died begins anew

        def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
            last, curve = trial.last_result or {}, curves.get(_key(trial), [])
            if not curve:
                return
            facts = {name: last.get(name) for name in ("score", "epochs", "seconds")}
            counts = {name: last[name] for name in (*COUNTED, *MEASURED) if name in last}
            facts |= {"counts": counts} if counts else {}
            if last.get("breaks"):
                record(trial, {"state": f"breaks {last['breaks']}", **facts, "rank": None})
            elif len(curve) == search.chunks:
                record(trial, {"state": "finished", **facts, "rank": curve[-1], "curve": curve})
            elif "repeat" not in trial.config and is_stopped(trial, curve, last):
                record(trial, {"state": "stopped early", **facts, "rank": curve[-1], "curve": curve})
            elif "repeat" not in trial.config:
                cut.append({**trial.config, "state": "out of time", **facts})

        def on_trial_error(self, *, trial: Any, **_: Any) -> None:
            nothing = dict.fromkeys(("score", "rank", "epochs", "seconds"))
            if time.time() < until:
                record(trial, {"state": "failed", "reason": _failure_reason(trial), **nothing})

    def is_stopped(trial: Any, curve: list[float], last: dict[str, Any]) -> bool:
        if search.scheduler in ASYNCHRONOUS:
            return time.time() < until
        return not is_promoted(search, done.trials, trial.config["number"], len(curve), last)

    def record(trial: Any, facts: dict[str, Any]) -> None:
        point = dict(trial.config)
        machine = (trial.last_result or {}).get("hostname")
        key = {name: value for name, value in point.items() if name != "options"}
        ledger.add(point["options"] | key, facts | point | ({"machine": machine} if machine else {}))
        done.add({**point, **facts})

    return Watch()


def _key(trial: Any) -> tuple[int, int]:
    return trial.config["number"], trial.config.get("repeat", 0)


def _failure_reason(trial: Any) -> str:
    """Return the last line of a failed trial's traceback, without the name of the exception."""
    note = Path(trial.error_file or "")
    lines: Sequence[str] = note.read_text(encoding="utf-8").split("\n") if note.is_file() else []
    last = next((line for line in reversed(lines) if line.strip()), "its process died")
    return last.partition(": ")[2] or last
