"""Tune: search the chosen architecture's SPACE by a plan of trials that no clock decides, the defaults first.

Ray Tune with Optuna's sampler (TPE, Bergstra et al. 2011) and halving (Jamieson and Talwalkar 2016), in batches (see
stages/trials/proposals.py). Finished trials stand in a ledger, so a search that is run again, was killed, or gets more
trials, goes on from them. What is found replaces the defaults only where it is better by more than one standard error
of the score (Breiman et al. 1984): the best of many trials looks better than it is.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from evergreen.core.paths import IMPORT_ROOT, Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.trials import search_plan
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.tune.config import TuneConfig

if TYPE_CHECKING:
    from evergreen.stages.trials.proposals import Search

END_SECONDS = 1.0  # that Tune usually takes to close

VERSION = 3  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


def run(config: TuneConfig, paths: Paths, *, task: str, progress: Progress = no_progress) -> dict[str, Any]:
    """Write `choice/tune.json` and return it; provisional where `time_budget_s` cut the search off."""
    started = time.monotonic()
    from evergreen.core.files import read_json, write_json
    from evergreen.data.spec import FeatureSpec as Spec
    from evergreen.stages.artifacts import folder_version
    from evergreen.stages.code_version import learned_code_version
    from evergreen.stages.engines import ray_cluster, ray_watch
    from evergreen.stages.engines.shared_storage import share_folder
    from evergreen.stages.trials.proposals import Search
    from evergreen.stages.trials.trial import deciding_metric, sampling_note, search_defaults

    selected = read_json(paths.select)
    architecture = selected["architecture"]
    board = {one["architecture"]: one for one in selected.get("leaderboard", [])}
    entry: dict[str, Any] = {"architecture": architecture, **board.get(architecture, {})}
    own, version = search_defaults(architecture), folder_version(paths.ready)
    is_wanted = bool(own and config.planned_effort)
    trial_plan = search_plan.plan(config, paths, version, task, entry) if is_wanted else None
    trials, length = (trial_plan.trials, trial_plan.chunks) if trial_plan else (0, search_plan.CHUNKS[0])
    ready = share_folder(paths.root, paths.ready, "ready", paths.name, version) if trials else str(paths.ready)
    metric = deciding_metric(paths.ready)
    search = Search(ready, version, task, architecture, own, metric, config.seed, length)
    code = learned_code_version("tune", Spec.load(paths.ready).to_json(), task, architecture)
    context = {**search.context(), "code": code}
    ledger = Ledger(paths.trials, context)
    done, cut = _by_number(ledger), []
    if trial_plan and len(done) < trials:
        ray_cluster.connect(paths.root)
        left = (config.time_budget_s or trial_plan.cap_seconds) - (time.monotonic() - started)
        with ray_watch.raise_outage(paths.root):
            cut = _search(search, context, left, trials, paths, progress)
        done = _by_number(ledger)
    choice = _decide(search, done[:trials], cut, entry.get("standard_error") or 0.0)
    if not trials:
        choice["why"] = f"the defaults stay: {_skip_reason(config, search)}"
    choice["why"] += sampling_note(paths.ready) if done else ""
    if "provisional" in selected:
        choice["provisional"] = selected["provisional"]
    elif len(done) < trials:
        choice["provisional"] = f"its search was cut off after {len(done)} of {trials} trials"
    if len(done) < trials:
        ledger.count_cut()
        choice["why"] += f"; provisional: {len(done)} of {trials} trials are done"
    choice["cuts"] = ledger.cuts()
    choice["data_version"] = version
    choice["seconds"] = round(time.monotonic() - started, 1)
    write_json(paths.tune, choice)
    progress(stage="tune", summary=choice["why"], seconds=choice["seconds"])
    return choice


def _by_number(ledger: Ledger) -> list[dict[str, Any]]:
    """Return the finished trials in the order in which they were proposed."""
    return sorted(ledger.entries(), key=lambda entry: int(entry["number"]))


def _skip_reason(config: TuneConfig, search: Search) -> str:
    """Return why there is no search."""
    if not search.defaults:
        return f"{search.architecture} has nothing to search"
    if not config.planned_effort:
        return "no search was asked for"
    return "a trial is more work than a whole search may be (a larger effort allows it)"


def _search(
    search: Search, context: dict[str, Any], left: float, trials: int, paths: Paths, progress: Progress
) -> list[dict[str, Any]]:
    """Run the search for at most `left` seconds; return the trials that were cut off by the clock.

    It is a process of its own, a driver to Ray: Tune can take long to close, and when a driver is ended Ray frees all
    that was its. It ends by itself when this process does, for its input ends then.
    """
    from evergreen.stages.engines.shared_storage import scratch_folder

    until = time.monotonic() + left
    store = scratch_folder(paths.root, paths.home / "tune" / paths.name, "tune", paths.name)
    shutil.rmtree(store, ignore_errors=True)
    places = {"root": paths.root.resolve(), "path": paths.trials.resolve(), "store": store}
    given: dict[str, Any] = {name: str(place) for name, place in places.items()}
    given |= {"search": vars(search), "context": context, "trials": trials}
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
                state = {"trial": len(entries), "trials": trials, "best": best["score"] if best else None}
                progress(stage="tune", **state)
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
        return "no trial finished in time, so the defaults stay"
    if first is None:
        return f"the defaults stay: they did not finish in time to compare {trials} with them"
    if best is first:
        return f"the defaults reach the best {name}, {best['score']:.4g}, of {trials}"
    if abs(best["score"] - first["score"]) > error:
        return f"best {name} of {trials}, {best['score']:.4g}; the defaults reach {first['score']:.4g}"
    within = f"{best['score']:.4g}, is within one standard error ({error:.2g}) of theirs, {first['score']:.4g}"
    return f"the defaults stay: the best {name} of {trials}, {within}"
