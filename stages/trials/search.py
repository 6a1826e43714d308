"""Search the options of one architecture by Ray Tune, and record each finished trial at once."""

import json
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evergreen.core import parts
from evergreen.models.registry import find_architecture
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.trial import Trial

# of a trial that is not stopped, see stages/trials/trial.py: the most of which FULL_TRIALS fit into the time
CHUNKS = (27, 9, 3)
FULL_TRIALS = 6  # trials
RUNGS, FACTOR = 9, 3  # a trial may first be stopped after a ninth of its chunks; one in so many goes on


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
    chunks: int = CHUNKS[0]

    def context(self) -> dict[str, Any]:
        """Return all that decides a trial's score, except its options and the code."""
        shared = {"task": self.task, "architecture": self.architecture, "seed": self.seed}
        return {**shared, "data": self.version, "stretches": self.chunks}

    def best(self, entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Return the entry with the best score; of equal ones the defaults, then the earliest."""
        sign = 1 if self.metric[1] == "max" else -1
        scored = [entry for entry in entries if entry["score"] is not None]
        return max(scored, key=lambda entry: (sign * entry["score"], entry["options"] == self.defaults), default=None)


def main() -> None:
    """Search as a line of JSON on stdin says; print the trials that the clock cut off as a line of JSON."""
    from evergreen.stages.engines import ray_cluster

    given = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    parts.use(Path(given["root"]))
    ray_cluster.connect(Path(given["root"]))
    ledger = Ledger(Path(given["path"]), given["context"])
    cut = run(Search(**given["search"]), ledger, given["trials"], given["until"], given["store"])
    print(json.dumps(cut), flush=True)
    os._exit(0)  # what Ray does at exit takes a second


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def run(search: Search, ledger: Ledger, trials: int, until: float, store: str) -> list[dict[str, Any]]:
    """Search until the ledger holds `trials` or time.time() passes `until`; Tune writes to `store`."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    from evergreen.stages.engines import ray_cluster

    done = ledger.entries()
    watch = _ledger_callback(ledger, until, search.chunks)
    name = f"evergreen-{uuid.uuid4().hex}"  # searches of one cluster overwrite each other's trainables by name
    tune.register_trainable(name, tune.with_resources(_trainable(search, ledger, until), {"cpu": 1}))
    grace = max(1, search.chunks // RUNGS)
    halving = {"max_t": search.chunks, "grace_period": grace, "reduction_factor": FACTOR}
    tuner = tune.Tuner(
        name,
        tune_config=tune.TuneConfig(
            search_alg=_optuna_sampler(search, done),
            scheduler=ASHAScheduler("training_iteration", "rank", "max", **halving),
            num_samples=trials - len(done),
            max_concurrent_trials=ray_cluster.cpus(),  # more than there is room for would wait for each other
            time_budget_s=max(0.1, until - time.time()),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=store,
            verbose=0,
            callbacks=[watch],
            failure_config=tune.FailureConfig(max_failures=1),  # a process that dies once is no fact about the trial
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it warns of a search that its clock ends
    tuner.fit()
    return watch.cut


def _trainable(search: Search, ledger: Ledger, until: float) -> Callable[[dict[str, Any]], None]:
    """Return what a worker does with one point; a point of the ledger is answered from it."""
    known = {entry["key"]: entry for entry in ledger.entries()}
    own_parts = parts.project_texts()

    def train(options: dict[str, Any]) -> None:
        from ray import tune

        entry = known.get(ledger.key(options))
        if entry:
            tune.report({name: entry[name] for name in ("score", "rank", "epochs")} | {"seconds": 0.0, "whole": True})
            return
        parts.adopt(own_parts)
        trial = Trial(Path(search.ready), search.version, search.task, search.architecture, options, search.seed)
        direction = search.metric[1]
        for chunk in range(1, search.chunks + 1):
            goal = chunk * trial.epochs_per_chunk
            score = trial.advance(goal, until - time.time())
            facts = {"score": score.value, "rank": score.rank(direction)[0], "whole": score.epochs >= goal}
            tune.report({**facts, "epochs": score.epochs, "seconds": score.seconds})
            if not facts["whole"]:
                return

    return train


def _optuna_sampler(search: Search, done: Sequence[Mapping[str, Any]]) -> Any:
    """Return Optuna's sampler, told the ledger's trials; its seed moves on, or it would repeat its proposals."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {
        name: _distribution(choice) for name, choice in find_architecture(search.architecture).SEARCH_SPACE.items()
    }
    first = None if any(entry["options"] == search.defaults for entry in done) else [dict(search.defaults)]
    sampler = OptunaSearch(space, metric="rank", mode="max", points_to_evaluate=first, seed=search.seed + len(done))
    for entry in done:
        if entry["score"] is not None:
            sampler.add_evaluated_point(entry["options"], entry["rank"])
    return sampler


def _distribution(choice: Any) -> Any:
    """Return an entry of SEARCH_SPACE as Optuna's distribution."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(choice, list):
        return CategoricalDistribution(choice)
    low, high, *rest = choice
    kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
    return kind(low, high, log=rest == ["log"])


def _ledger_callback(ledger: Ledger, until: float, chunks: int) -> Any:
    """Return Tune's callback that records each finished trial and keeps those that the clock cut off."""
    from ray import tune

    class Watch(tune.Callback):
        def __init__(self) -> None:
            self.cut: list[dict[str, Any]] = []

        def on_trial_complete(self, trial: Any, **_: Any) -> None:
            last = trial.last_result or {}
            facts = {name: last.get(name) for name in ("score", "rank", "epochs", "seconds")}
            if not last.get("whole") or time.time() > until:
                if facts["epochs"]:
                    self.cut.append({"options": trial.config, "state": "out of time", **facts})
            else:
                is_complete = last["training_iteration"] >= chunks
                ledger.add(trial.config, {"state": "finished" if is_complete else "stopped early", **facts})

        def on_trial_error(self, trial: Any, **_: Any) -> None:
            nothing = dict.fromkeys(("score", "rank", "epochs", "seconds"))
            ledger.add(trial.config, {"state": "failed", "reason": _failure_reason(trial), **nothing})

    return Watch()


def _failure_reason(trial: Any) -> str:
    """Return the last line of a failed trial's traceback, without the name of the exception."""
    note = Path(trial.error_file or "")
    lines = note.read_text(encoding="utf-8").split("\n") if note.is_file() else []
    last = next((line for line in reversed(lines) if line.strip()), "its process died")
    return last.partition(": ")[2] or last


if __name__ == "__main__":
    from evergreen.stages.trials.search import main as search

    search()
