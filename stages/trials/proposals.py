"""Propose the points of a search in batches, so that neither the number of workers nor their speed decides anything.

A batch is proposed by a sampler that knows all trials of the batches before, in the order of their numbers, and whose
seed follows from the search's and the batch's number. A trial is compared, and may be stopped, with trials of earlier
batches alone. So a search that is killed, cut off or spread over more machines finds what it would have found.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.models.registry import find_architecture
from evergreen.stages.trials.ledger import Ledger

if TYPE_CHECKING:
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler
    from ray.tune.search import Searcher

RUNGS = (9, 3)  # a trial may be stopped after a ninth and after a third of its chunks
FACTOR = 3  # one in so many goes on
BATCH = 4  # trials that are proposed at once, whatever the number of workers
Entries = dict[int, dict[str, Any]]  # finished trials by their numbers


@dataclass(frozen=True)
class Search:
    """Hold what all trials of one search share."""

    ready: str
    version: str  # of the folder `ready`
    task: str
    architecture: str
    defaults: dict[str, Any]  # the architecture's defaults for what is searched
    metric: tuple[str, str]  # the one that decides, and "max" or "min"
    seed: int
    chunks: int  # of a trial that is not stopped

    def context(self) -> dict[str, Any]:
        """Return all that decides a trial's score, except its options and the code."""
        shared = {"task": self.task, "architecture": self.architecture, "seed": self.seed}
        return {**shared, "data": self.version, "stretches": self.chunks}

    def best(self, entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Return the entry with the best score; of equal ones the defaults, then the earliest."""
        sign = 1 if self.metric[1] == "max" else -1
        scored = [entry for entry in entries if entry["score"] is not None]
        return max(scored, key=lambda entry: (sign * entry["score"], entry["options"] == self.defaults), default=None)


def propose(search: Search, done: Mapping[int, Mapping[str, Any]], batch: int) -> list[dict[str, Any]]:
    """Return the options of a batch's trials by Optuna's sampler (TPE, Bergstra et al. 2011), the defaults first."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {name: distribution(one) for name, one in find_architecture(search.architecture).SEARCH_SPACE.items()}
    digest = hashlib.blake2b(f"{search.seed} {batch}".encode(), digest_size=4).digest()
    sampler = optuna.samplers.TPESampler(seed=int.from_bytes(digest), constant_liar=True)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for number in range(batch * BATCH):
        entry = done[number]
        if entry["score"] is not None:
            known = {"params": dict(entry["options"]), "distributions": space, "value": entry["rank"]}
            study.add_trial(optuna.trial.create_trial(**known))
    points = [study.ask(space).params for _ in range(BATCH)]
    return [dict(search.defaults), *points[1:]] if batch == 0 else points


def distribution(choice: Any) -> Any:
    """Return an entry of SEARCH_SPACE as Optuna's distribution."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(choice, list):
        return CategoricalDistribution(choice)
    low, high, *rest = choice
    kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
    return kind(low, high, log=rest == ["log"])


def is_promoted(search: Search, done: Mapping[int, Mapping[str, Any]], number: int, chunk: int, rank: float) -> bool:
    """Tell whether a trial goes on after so many chunks: among the best third of those of the batches before."""
    if chunk not in {max(1, search.chunks // rung) for rung in RUNGS}:
        return True
    curves = (done[other].get("curve") or [] for other in range(number // BATCH * BATCH))
    others = sorted((curve[chunk - 1] for curve in curves if len(curve) >= chunk), reverse=True)
    return not others or rank >= others[(len(others) - 1) // FACTOR]


def batched_proposals(search: Search, done: Entries, trials: int) -> Searcher:
    """Return Tune's searcher: it waits for the end of a batch before it proposes the next."""
    from ray.tune.search import Searcher

    class Batches(Searcher):
        def __init__(self) -> None:
            super().__init__(metric="rank", mode="max")
            self.next, self.batch = 0, -1
            self.points: list[dict[str, Any]] = []

        def suggest(self, _trial_id: str) -> dict[str, Any] | str | None:
            while self.next in done:
                self.next += 1
            number = self.next
            if number >= trials:
                return Searcher.FINISHED
            batch, place = divmod(number, BATCH)
            if any(earlier not in done for earlier in range(batch * BATCH)):
                return None
            if self.batch != batch:
                self.batch, self.points = batch, propose(search, done, batch)
            self.next += 1
            return {"number": number, "options": self.points[place]}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Hear nothing: what is done stands in the ledger."""

        def save(self, checkpoint_path: str) -> None:
            """Save nothing: the ledger is all there is to know."""

        def restore(self, checkpoint_path: str) -> None:
            """Restore nothing."""

    return Batches()


def batch_stopper(search: Search, done: Entries) -> FIFOScheduler:
    """Return Tune's scheduler: halving (Jamieson and Talwalkar 2016) against trials of the batches before."""
    from ray.tune.schedulers import FIFOScheduler

    class Stopper(FIFOScheduler):
        def on_trial_result(self, _controller: Any, trial: Any, result: dict[str, Any]) -> str:
            chunk, rank = result["training_iteration"], result["rank"]
            goes_on = is_promoted(search, done, trial.config["number"], chunk, rank)
            return FIFOScheduler.CONTINUE if goes_on else FIFOScheduler.STOP

    return Stopper()


def ledger_callback(
    search: Search, ledger: Ledger, done: Entries, cut: list[dict[str, Any]], until: float
) -> tune.Callback:
    """Return Tune's callback that records each finished trial, and keeps in `cut` those that the clock cut off."""
    from ray import tune

    curves: dict[int, list[float]] = {}

    class Watch(tune.Callback):
        def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
            curve = curves.setdefault(trial.config["number"], [])
            curve[result["training_iteration"] - 1 :] = [result["rank"]]  # one whose process died begins anew

        def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
            number, last = trial.config["number"], trial.last_result or {}
            curve = curves.get(number, [])
            facts = {name: last.get(name) for name in ("score", "epochs", "seconds")}
            is_whole = len(curve) == search.chunks
            if not curve:
                return
            if is_whole or not is_promoted(search, done, number, len(curve), curve[-1]):
                state = "finished" if is_whole else "stopped early"
                record(trial, {"state": state, **facts, "rank": curve[-1], "curve": curve})
            else:
                cut.append({"options": trial.config["options"], "state": "out of time", **facts})

        def on_trial_error(self, *, trial: Any, **_: Any) -> None:
            nothing = dict.fromkeys(("score", "rank", "epochs", "seconds"))
            if time.time() < until:
                record(trial, {"state": "failed", "reason": _failure_reason(trial), **nothing})

    def record(trial: Any, facts: dict[str, Any]) -> None:
        number, options = trial.config["number"], trial.config["options"]
        ledger.add(options | {"number": number}, facts | {"number": number, "options": options})
        done[number] = {"number": number, "options": options, **facts}

    return Watch()


def _failure_reason(trial: Any) -> str:
    """Return the last line of a failed trial's traceback, without the name of the exception."""
    note = Path(trial.error_file or "")
    lines: Sequence[str] = note.read_text(encoding="utf-8").split("\n") if note.is_file() else []
    last = next((line for line in reversed(lines) if line.strip()), "its process died")
    return last.partition(": ")[2] or last
