"""Search the options of one architecture by Ray Tune, and record each finished trial at once."""

import json
import logging
import math
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evergreen.core import parts
from evergreen.core.priority import lower_priority
from evergreen.stages.engines.shared_storage import fetch_folder
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.proposals import REPEATED, Finished, batched_proposals, ledger_callback, make_stopper
from evergreen.stages.trials.space import Search
from evergreen.stages.trials.trial import Trial

MAX_FAILURES = 2  # of a trial's process: what a machine does is no fact about the trial


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
    """Search until the ledger holds `trials` or time.time() passes `until`; Tune writes to `store`.

    Return the trials that the clock cut off.
    """
    from ray import tune

    from evergreen.stages.engines import ray_cluster

    done = Finished(ledger.entries())
    cut: list[dict[str, Any]] = []
    name = f"evergreen-{uuid.uuid4().hex}"  # searches of one cluster overwrite each other's trainables by name
    tune.register_trainable(name, tune.with_resources(_trainable(search, until), {"cpu": 1}))
    tuner = tune.Tuner(
        name,
        tune_config=tune.TuneConfig(
            search_alg=batched_proposals(search, done, trials),
            scheduler=make_stopper(search, done),
            num_samples=max(0, trials - len(done.trials)) + (REPEATED + 1) * (search.repeats - 1),
            max_concurrent_trials=ray_cluster.cpus(),  # more than there is room for would wait for each other
            time_budget_s=max(0.1, until - time.time()),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=store,
            verbose=0,
            callbacks=[ledger_callback(search, ledger, done, cut, until)],
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it warns of a search that its clock ends
    tuner.fit()
    return cut


def _trainable(search: Search, until: float) -> Callable[[dict[str, Any]], None]:
    """Return what a worker does with one point: train on, and report after each chunk."""
    own_parts = parts.project_texts()

    def train(config: dict[str, Any]) -> None:
        from ray import tune

        lower_priority()
        parts.adopt(own_parts)
        place = fetch_folder(search.ready), search.version, search.task, search.architecture
        trial = Trial(*place, search.selected | config["options"], search.seed + config.get("repeat", 0))
        counts = trial.counts(search.quantities) if search.quantities else {}
        if broken := search.broken(counts):
            tune.report({"rank": -math.inf, "breaks": broken, "epochs": 0, "seconds": 0.0, **counts})
            return
        for chunk in range(1, search.chunks + 1):
            goal = chunk * trial.chunk
            score = trial.advance(goal, until - time.time())
            if trial.loop.step < goal:
                return
            facts = {"score": score.value, "rank": score.rank(search.metric[1])[0]}
            tune.report({**facts, "epochs": score.epochs, "seconds": score.seconds, **counts})

    return train


if __name__ == "__main__":
    from evergreen.stages.trials.search import main as search

    search()
