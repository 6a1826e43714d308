"""Tune: searches the chosen architecture's SPACE within a budget of seconds and trials, the defaults first.

Ray Tune with Optuna's sampler (TPE, Bergstra et al. 2011) and asynchronous halving (ASHA, Li et al. 2020). Finished
trials stand in a ledger, so a search that is run again, or was killed, goes on from them.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.artifacts import Paths
from stages.ledger import Ledger
from stages.progress import Progress, quiet
from stages.settings import PipelineError

START_SECONDS = {True: 5.0, False: 11.0}  # until workers can train, where Ray is up and where it is not
END_SECONDS = 1.5  # that Tune takes to close
STRETCHES = 27  # of a whole trial, see stages/trial.py
GRACE, FACTOR = 3, 3  # stretches before a trial may be stopped; one in so many goes on


@dataclass(frozen=True)
class Params:
    """How long the search is."""

    seconds: float = 60  # for the whole stage
    trials: int = 20  # the most there are, those in the ledger included
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise PipelineError(f"seconds is {self.seconds}", fix="give a number above 0")
        if self.trials < 1:
            raise PipelineError(f"trials is {self.trials}", fix="give at least 1")


@dataclass(frozen=True)
class Search:
    """What all trials of one search share; workers get it."""

    ready: str
    version: str  # of the folder `ready`
    task: str
    architecture: str
    seed: int
    until: float = 0.0  # time.time() after which nothing is trained


def run(params: Params, paths: Paths, *, task: str, progress: Progress = quiet) -> dict[str, Any]:
    """Writes `choice/tune.json` and returns it. Ends within `seconds` whatever is not done by then."""
    started = time.monotonic()
    from stages import cluster
    from stages.artifacts import folder_version, read_json, write_json
    from stages.trial import defaults

    architecture = read_json(paths.select)["architecture"]
    search = Search(str(paths.ready.resolve()), folder_version(paths.ready), task, architecture, params.seed)
    ledger = _ledger(search, paths)
    own = defaults(architecture)
    done = ledger.entries()
    cut: list[dict[str, Any]] = []
    enough = params.seconds > START_SECONDS[cluster.status(paths.root)["running"]]
    if own and len(done) < params.trials and enough:
        cluster.connect(paths.root)
        cut = _search(search, params, paths, ledger, own, started, progress)
        done = ledger.entries()
    choice = _decide(search, done[: params.trials], cut, own)
    choice["seconds"] = round(time.monotonic() - started, 1)
    write_json(paths.tune, choice)
    progress(stage="tune", summary=choice["why"], seconds=choice["seconds"])
    return choice


def _ledger(search: Search, paths: Paths) -> Ledger:
    from stages.artifacts import code_version

    shared = {"task": search.task, "architecture": search.architecture, "seed": search.seed, "stretches": STRETCHES}
    return Ledger(paths.trials, {**shared, "data": search.version, "code": code_version()})


def _search(
    search: Search,
    params: Params,
    paths: Paths,
    ledger: Ledger,
    own: Mapping[str, Any],
    started: float,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Runs Tune; returns the trials that did not come to their end, for those that did are in the ledger."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from stages import cluster
    from stages.trial import metric

    left = params.seconds - (time.monotonic() - started)
    search = Search(**{**vars(search), "until": time.time() + left - END_SECONDS})
    done = ledger.entries()
    watch = _watch(ledger, params, len(done), metric(search.task)[1], search.until, progress)
    name = f"evergreen-{uuid.uuid4().hex[:12]}"  # searches of one cluster overwrite each other's trainables by name
    tune.register_trainable(name, tune.with_resources(_trainable(search, done, ledger), {"cpu": 1}))
    store = paths.home.resolve() / "tune"
    tuner = tune.Tuner(
        name,
        tune_config=tune.TuneConfig(
            search_alg=_sampler(search, params, own, done),
            scheduler=ASHAScheduler(
                time_attr="training_iteration",
                metric="rank",
                mode="max",
                max_t=STRETCHES,
                grace_period=GRACE,
                reduction_factor=FACTOR,
            ),
            num_samples=params.trials - len(done),
            max_concurrent_trials=cluster.cpus(),
            time_budget_s=max(0.1, left - END_SECONDS),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name=name, storage_path=str(store), verbose=0, callbacks=[watch]),
    )
    with _silent():
        tuner.fit()
    shutil.rmtree(store / name, ignore_errors=True)
    cut: list[dict[str, Any]] = watch.cut
    return cut


def _trainable(search: Search, done: list[dict[str, Any]], ledger: Ledger) -> Callable[[dict[str, Any]], None]:
    """What a worker does with one point. A point of the ledger is answered from it."""
    known = {entry["key"]: entry for entry in done}

    def train(options: dict[str, Any]) -> None:
        from ray import tune

        from stages.trial import Trial, metric

        found = known.get(ledger.key(options))
        if found:
            tune.report({**{name: found[name] for name in ("score", "rank", "epochs")}, "seconds": 0.0, "whole": True})
            return
        trial = Trial(Path(search.ready), search.version, search.task, search.architecture, options, search.seed)
        direction = metric(search.task)[1]
        for stretch in range(1, STRETCHES + 1):
            score = trial.advance(stretch * trial.stretch, search.until - time.time())
            whole = score.epochs >= stretch * trial.stretch
            facts = {"score": score.value, "rank": score.rank(direction)[0], "whole": whole}
            tune.report({**facts, "epochs": score.epochs, "seconds": score.seconds})
            if not whole:
                return

    return train


def _sampler(search: Search, params: Params, own: Mapping[str, Any], done: list[dict[str, Any]]) -> Any:
    """Optuna, told what the ledger knows. Its seed moves on with that, or it would propose the same points again."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    from models.base import architecture

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {name: _distribution(choice) for name, choice in architecture(search.architecture).SPACE.items()}
    points = [] if any(entry["options"] == own for entry in done) else [dict(own)]
    seed = params.seed + len(done)
    sampler = OptunaSearch(space, metric="rank", mode="max", points_to_evaluate=points or None, seed=seed)
    for entry in done:
        if entry["score"] is not None:
            sampler.add_evaluated_point(entry["options"], entry["rank"])
    return sampler


def _distribution(choice: Any) -> Any:
    """An entry of SPACE, in Optuna's words."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(choice, list):
        return CategoricalDistribution(choice)
    low, high, *rest = choice
    kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
    return kind(low, high, log=rest == ["log"])


def _watch(ledger: Ledger, params: Params, before: int, direction: str, until: float, progress: Progress) -> Any:
    """Tune's callback: writes each finished trial into the ledger at once and tells how the search goes."""
    from ray import tune

    class Watch(tune.Callback):
        def __init__(self) -> None:
            self.ended = before
            self.best = max((one["rank"] for one in ledger.entries() if one["score"] is not None), default=None)
            self.cut: list[dict[str, Any]] = []

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            self._end(trial, "stopped early")

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            self._end(trial, "failed")

        def _end(self, trial: Any, state: str) -> None:
            last = trial.last_result or {}
            facts = {name: last.get(name) for name in ("score", "rank", "epochs", "seconds")}
            if state == "failed":
                facts |= {"score": None, "rank": None}
            elif not last.get("whole") or time.time() > until:
                self.cut.append({"options": trial.config, "state": "out of time", **facts})
                return
            elif last["training_iteration"] >= STRETCHES:
                state = "finished"
            ledger.add(trial.config, {"state": state, **facts})
            self.ended += 1
            if facts["score"] is not None:
                self.best = facts["rank"] if self.best is None else max(self.best, facts["rank"])
            shown = None if self.best is None else self.best if direction == "max" else -self.best
            seconds_left = max(0.0, until - time.time())
            progress(stage="tune", trial=self.ended, trials=params.trials, best=shown, seconds_left=seconds_left)

    return Watch()


def _silent() -> Any:
    """Tune logs advice on a search that ends by its clock; here every search does."""
    import contextlib
    import logging

    @contextlib.contextmanager
    def quietly() -> Any:
        logger = logging.getLogger("ray.tune")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)

    return quietly()


def _decide(
    search: Search, done: list[dict[str, Any]], cut: list[dict[str, Any]], own: Mapping[str, Any]
) -> dict[str, Any]:
    from stages.trial import metric

    name, direction = metric(search.task)
    shown = ("options", "score", "epochs", "seconds", "state")
    rows = [{"number": number, **{key: entry.get(key) for key in shown}} for number, entry in enumerate(done + cut)]
    scored = [row for row in rows if row["score"] is not None and row["state"] != "out of time"]
    sign = 1 if direction == "max" else -1
    best = max(scored, key=lambda row: (sign * row["score"], row["options"] == own, -row["number"]), default=None)
    first = next((row for row in scored if row["options"] == own), None)
    if not own:
        why = f"{search.architecture} has nothing to search"
    elif best is None:
        why = "no trial ended in the time given, so the defaults stay; give tune more seconds"
    elif best is first:
        why = f"the defaults reach the best {name}, {best['score']:.4g}, of {len(scored)} trials"
    else:
        against = f"the defaults reach {first['score']:.4g}" if first else "the defaults were not done in time"
        why = f"best {name} of {len(scored)} trials, {best['score']:.4g}; {against}"
    tuned = best is not None and best is not first
    return {
        "architecture": search.architecture,
        "options": best["options"] if best and tuned else {},
        "trial": best["number"] if best else None,
        "score": best["score"] if best else None,
        "metric": name,
        "direction": direction,
        "trials": rows,
        "why": why,
    }


if __name__ == "__main__":
    from stages.pipeline import main

    main("tune")
