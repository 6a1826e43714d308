"""Tune: search the chosen architecture's SPACE by a plan of trials that no clock decides, the defaults first.

Ray Tune with Optuna's sampler (TPE, Bergstra et al. 2011) and halving (Jamieson and Talwalkar 2016), or what the YAML
names, in batches (see stages/trials/proposals.py). Finished trials stand in a ledger, so a search that is run again,
was killed, or gets more trials, goes on from them. What is found replaces the defaults only where it is better by more
than one standard error of the score (Breiman et al. 1984): the best of many trials looks better than it is.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError
from evergreen.core.paths import IMPORT_ROOT, Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.tune.config import TuneConfig

if TYPE_CHECKING:
    from evergreen.stages.trials.space import Search
    from evergreen.stages.tune.planned_search import PlannedSearch

END_SECONDS = 1.0  # that Tune usually takes to close

VERSION = 4  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


def run(config: TuneConfig, paths: Paths, *, task: str, progress: Progress = no_progress) -> dict[str, Any]:
    """Write `choice/tune.json` and return it; provisional where `time_budget_s` cut the search off.

    Raises PipelineError where no trial keeps the constraints.
    """
    started = time.monotonic()
    from evergreen.core.files import read_json, write_json
    from evergreen.stages.engines import ray_cluster, ray_watch
    from evergreen.stages.trials.samplers import weigh_options
    from evergreen.stages.trials.trial import sampling_note
    from evergreen.stages.tune.decision import decide
    from evergreen.stages.tune.planned_search import open_search

    planned = open_search(config, paths, task)
    search, trials = planned.search, planned.trials
    if config.constraints and not trials:
        raise PipelineError(f"constraints: {_skip_reason(config, search)}", place="tune")
    known, cut = planned.finished(), []
    if trials and not planned.is_done(known):
        ray_cluster.connect(paths.root)
        left = (config.time_budget_s or planned.cap_seconds) - (time.monotonic() - started)
        with ray_watch.raise_outage(paths.root):
            cut = _search(planned, left, paths, progress)
        known = planned.finished()
    done = [known.trials[number] for number in sorted(known.trials)]
    choice = decide(search, done[:trials], cut, known)
    if not trials:
        choice["why"] = f"the defaults stay: {_skip_reason(config, search)}"
    elif importance := weigh_options(search, done[:trials]):
        choice["importance"] = importance
    choice["why"] += f"; space: {search.architecture} has no {', '.join(planned.unknown)}" if planned.unknown else ""
    choice["why"] += sampling_note(paths.ready) if done else ""
    selected = read_json(paths.select)
    choice |= {"options": search.selected | choice["options"], "fold_key": selected.get("fold_key", "")}
    if "provisional" in selected:
        choice["provisional"] = selected["provisional"]
    elif len(done) < trials:
        choice["provisional"] = f"its search was cut off after {len(done)} of {trials} trials"
    elif not planned.is_done(known):
        choice["provisional"] = f"its search was cut off before the best trials were repeated {config.repeats} times"
    if not planned.is_done(known):
        planned.ledger.count_cut()
        choice["why"] += f"; provisional: {len(done)} of {trials} trials are done" + " once" * (len(done) >= trials)
    choice["cuts"] = planned.ledger.cuts()
    choice["data_version"] = search.version
    choice["seconds"] = round(time.monotonic() - started, 1)
    write_json(paths.tune, choice)
    progress(stage="tune", summary=choice["why"], seconds=choice["seconds"])
    return choice


def _skip_reason(config: TuneConfig, search: Search) -> str:
    """Return why there is no search."""
    if not search.defaults:
        return f"{search.architecture} has nothing to search"
    if not config.planned_effort:
        return "no search was asked for"
    return "a trial is more work than a whole search may be (a larger effort allows it)"


def _search(planned: PlannedSearch, left: float, paths: Paths, progress: Progress) -> list[dict[str, Any]]:
    """Run the search for at most `left` seconds; return the trials that were cut off by the clock.

    It is a process of its own, a driver to Ray: Tune can take long to close, and when a driver is ended Ray frees all
    that was its. It ends by itself when this process does, for its input ends then.
    """
    from evergreen.stages.engines.shared_storage import scratch_folder, share_folder
    from evergreen.stages.trials.ranking import order

    until = time.monotonic() + left
    search, trials = planned.search, planned.trials
    store = scratch_folder(paths.root, paths.home / "tune" / paths.name, "tune", paths.name)
    shutil.rmtree(store, ignore_errors=True)
    places = {"root": paths.root.resolve(), "path": paths.trials.resolve(), "store": store}
    given: dict[str, Any] = {name: str(place) for name, place in places.items()}
    ready = share_folder(paths.root, paths.ready, "ready", paths.name, search.version)
    given |= {"search": {**vars(search), "ready": ready}, "context": planned.context, "trials": trials}
    given["until"] = time.time() + left - END_SECONDS
    command = [sys.executable, "-m", "evergreen.stages.trials.search"]
    pipe = subprocess.PIPE
    # in a group of its own: a Ctrl-C ends this process, which ends the search
    with subprocess.Popen(command, cwd=IMPORT_ROOT, stdin=pipe, stdout=pipe, text=True, process_group=0) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            while process.poll() is None and (seconds_left := until - time.monotonic()) > 0:
                entries = [*planned.finished().trials.values()]
                best = next(iter(order(search, [one for one in entries if one["score"] is not None])), None)
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
