"""Tune: search the chosen architecture's SPACE within a budget of seconds and trials, the defaults first.

Ray Tune with Optuna's sampler (TPE, Bergstra et al. 2011) and asynchronous halving (ASHA, Li et al. 2020). Finished
trials stand in a ledger, so a search that is run again, or was killed, goes on from them. What is found replaces the
defaults only where it is better by more than one standard error of the score (Breiman et al. 1984): the best of many
trials looks better than it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evergreen.core.paths import IMPORT_ROOT, Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.tune.config import TuneConfig

if TYPE_CHECKING:
    from evergreen.stages.trials.search import Search

END_SECONDS = 1.0  # that Tune usually takes to close

VERSION = 1  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


def run(config: TuneConfig, paths: Paths, *, task: str, progress: Progress = no_progress) -> dict[str, Any]:
    """Write `choice/tune.json` and return it, within `time_budget_s`, whatever is not done by then."""
    started = time.monotonic()
    from evergreen.core.files import read_json, write_json
    from evergreen.data.spec import FeatureSpec as Spec
    from evergreen.stages.artifacts import folder_version
    from evergreen.stages.code_version import learned_code_version
    from evergreen.stages.engines import ray_cluster, ray_watch
    from evergreen.stages.trials.search import Search
    from evergreen.stages.trials.trial import deciding_metric, sampling_note, search_defaults

    selected = read_json(paths.select)
    architecture = selected["architecture"]
    board = {one["architecture"]: one for one in selected.get("leaderboard", [])}
    entry: dict[str, Any] = board.get(architecture, {})
    own, length = search_defaults(architecture), _chunks(config, paths, architecture, entry)
    ready, version = str(paths.ready.resolve()), folder_version(paths.ready)
    search = Search(ready, version, task, architecture, own, deciding_metric(paths.ready), config.seed, length)
    code = learned_code_version("tune", Spec.load(paths.ready).to_json(), task, architecture)
    context = {**search.context(), "code": code}
    ledger = Ledger(paths.trials, context)
    done = ledger.entries()
    cut: list[dict[str, Any]] = []
    idle = _skip_reason(config, search, ray_cluster.WORKERS_AFTER[ray_cluster.status(paths.root)["running"]])
    if not idle and len(done) < config.trials:
        ray_cluster.connect(paths.root)
        with ray_watch.raise_outage(paths.root):
            cut = _search(search, context, config.time_budget_s - (time.monotonic() - started), config, paths, progress)
        done = ledger.entries()
    choice = _decide(search, done[: config.trials], cut, entry.get("standard_error") or 0.0)
    if idle and not done:
        choice["why"] = f"the defaults stay: {idle}"
    choice["why"] += sampling_note(paths.ready) if done else ""
    choice["data_version"] = version
    choice["seconds"] = round(time.monotonic() - started, 1)
    write_json(paths.tune, choice)
    progress(stage="tune", summary=choice["why"], seconds=choice["seconds"])
    return choice


def _skip_reason(config: TuneConfig, search: Search, start: float) -> str:
    """Return why there is no search, or ""; workers take `start` seconds until they can train."""
    if not search.defaults:
        return f"{search.architecture} has nothing to search"
    if not config.time_budget_s:
        return "no search was asked for (time_budget_s: 0)"
    if config.time_budget_s <= start:
        return f"a search takes {start:g} s to start and was given {config.time_budget_s:g}"
    return ""


def _chunks(config: TuneConfig, paths: Paths, architecture: str, entry: Mapping[str, Any]) -> int:
    """Return how long trials may be so that several fit into the time, judged by select's speed."""
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.engines import ray_cluster
    from evergreen.stages.trials.search import CHUNKS, FULL_TRIALS
    from evergreen.stages.trials.trial import epochs_per_chunk, max_rows, split_config_and_options

    if not entry.get("epochs"):
        return CHUNKS[0]
    recipe, _ = split_config_and_options(architecture, {})
    batches = -(-max_rows(FeatureSpec.load(paths.ready))["train"] // recipe.batch_size)
    each = entry["seconds"] / entry["epochs"] * epochs_per_chunk(batches, recipe)
    time_given = (config.time_budget_s - ray_cluster.WORKERS_AFTER[True] - END_SECONDS) * (os.cpu_count() or 1)
    return next((length for length in CHUNKS if FULL_TRIALS * length * each <= time_given), CHUNKS[-1])


def _search(
    search: Search, context: dict[str, Any], left: float, config: TuneConfig, paths: Paths, progress: Progress
) -> list[dict[str, Any]]:
    """Run the search for at most `left` seconds; return the trials that were cut off by the clock.

    It is a process of its own, a driver to Ray: Tune can take long to close, and when a driver is ended Ray frees all
    that was its. It ends by itself when this process does, for its input ends then.
    """
    until = time.monotonic() + left
    store = paths.home.resolve() / "tune" / paths.name
    shutil.rmtree(store, ignore_errors=True)
    places = {"root": paths.root.resolve(), "path": paths.trials.resolve(), "store": store}
    given: dict[str, Any] = {name: str(place) for name, place in places.items()}
    given |= {"search": vars(search), "context": context, "trials": config.trials}
    given["until"] = time.time() + left - END_SECONDS
    command = [sys.executable, "-m", "evergreen.stages.trials.search"]
    ledger = Ledger(paths.trials, context)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=IMPORT_ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            while process.poll() is None and (seconds_left := until - time.monotonic()) > 0:
                entries = ledger.entries()
                best = search.best(entries)
                state = {"trial": len(entries), "trials": config.trials, "best": best["score"] if best else None}
                progress(stage="tune", **state, seconds_left=seconds_left)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=min(0.25, seconds_left))
        finally:
            if process.poll() is None:
                process.kill()
            shutil.rmtree(store, ignore_errors=True)
        lines = process.stdout.read().splitlines()
    if process.returncode > 0:
        raise RuntimeError("the search failed; its messages are above")
    return json.loads(lines[-1]) if process.returncode == 0 else []


def _decide(search: Search, done: list[dict[str, Any]], cut: list[dict[str, Any]], error: float) -> dict[str, Any]:
    """Decide between the best trial and the defaults; `error` is the score's standard error, from select."""
    name, direction = search.metric
    shown = ("options", "score", "epochs", "seconds", "state")
    rows = [{"number": number, **{key: entry.get(key) for key in shown}} for number, entry in enumerate(done + cut)]
    scored = [row for row in rows[: len(done)] if row["score"] is not None]
    best, first = search.best(scored), next((row for row in scored if row["options"] == search.defaults), None)
    better = best is not None and first is not None and abs(best["score"] - first["score"]) > error
    chosen = best if better else first
    return {
        "architecture": search.architecture,
        "options": chosen["options"] if chosen and chosen is not first else {},
        "trial": chosen["number"] if chosen else None,
        "score": chosen["score"] if chosen else None,
        "metric": name,
        "direction": direction,
        "trials": rows,
        "why": _failure_note(done) or _why(name, len(scored), best, first, error),
    }


def _failure_note(done: list[dict[str, Any]]) -> str:
    """Return why trials failed, where all did, or ""."""
    reasons = [entry.get("reason", "unknown why") for entry in done if entry["state"] == "failed"]
    return f"every trial failed ({reasons[0]}), so the defaults stay" if reasons and len(reasons) == len(done) else ""


def _why(name: str, count: int, best: Any, first: Any, error: float) -> str:
    """Explain the choice in a sentence; `first` is the trial of the defaults, None where it was not done."""
    trials = "1 trial" if count == 1 else f"{count} trials"
    if best is None:
        return "no trial finished in time, so the defaults stay; give tune more seconds"
    if first is None:
        return f"the defaults stay: they did not finish in time to compare {trials} with them; give tune more seconds"
    if best is first:
        return f"the defaults reach the best {name}, {best['score']:.4g}, of {trials}"
    if abs(best["score"] - first["score"]) > error:
        return f"best {name} of {trials}, {best['score']:.4g}; the defaults reach {first['score']:.4g}"
    within = f"{best['score']:.4g}, is within one standard error ({error:.2g}) of theirs, {first['score']:.4g}"
    return f"the defaults stay: the best {name} of {trials}, {within}"
