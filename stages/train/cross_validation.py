"""Settle by folds how the network ends that learns from all training and validation rows.

What it is worth on new ones the folds tell: at which epoch it ends, its temperature and thresholds, and how far its
answers are off (cross-conformal: Vovk 2015). Those that select has trained already are read, not trained again.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from evergreen.core import parts
from evergreen.core.errors import UserError
from evergreen.core.priority import lower_priority
from evergreen.models import work
from evergreen.stages.train.plan import RunPlan
from evergreen.stages.train.ray_train import reraise_user_error
from evergreen.stages.train.worker import note_mistake
from evergreen.stages.trials.out_of_fold import OutOfFold, build_network, kept_epoch, load, prepare_fold, train_fold

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.core.progress import Progress
    from evergreen.stages.train.config import TrainConfig

WORK = 24.0  # nominal seconds of one core that all folds may take, see models/work.py
MIN_FOLDS = 3  # fewer learn from too few of the rows to speak for a network of all
POLL_SECONDS = 0.5


def limit_folds(plan: RunPlan, raced: str = "") -> RunPlan:
    """Return the plan with as many folds as its counted work allows; where they are too few, it learns from no more.

    `raced` is the key of the folds that decided for its architecture: these it keeps, for they are trained already.
    """
    if not plan.folds or plan.fold_key == raced:
        return plan
    network, feed, held_out, recipe = prepare_fold(plan, 0)
    batch = {name: torch.as_tensor(column) for name, column in next(feed.epoch(0)).items()}
    sizes = {"steps": feed.steps(), "epochs": recipe.epochs, "n_validation": len(held_out["target"])}
    folds = min(plan.folds, int(WORK / work.count(network, batch, **sizes).full))
    enough = folds >= MIN_FOLDS
    settles = plan.settles_epochs and enough
    changed = dataclasses.replace(plan, folds=folds if enough else 0, refit=enough, settles_epochs=settles)
    return changed.in_folder(Path(plan.folder).parent)


def settle(plan: RunPlan, found: OutOfFold) -> RunPlan:
    """Return the plan with the epochs that are best on the rows of all folds, where these may be chosen."""
    return plan.ending_at(kept_epoch(plan, found, build_network(plan)[0].task), len(found.outputs))


def run(plan: RunPlan, config: TrainConfig, paths: Paths, progress: Progress) -> OutOfFold:
    """Train the folds that are missing on Ray's free cores; return what all of them have answered."""
    if found := load(plan):
        return found
    from evergreen.stages.engines import ray_cluster, ray_watch

    ray_cluster.connect(paths.root)
    import ray

    Path(plan.folder).mkdir(parents=True, exist_ok=True)
    remote = ray.remote(num_cpus=1, max_retries=config.max_failures)(_train_remotely)
    missing = [number for number in range(plan.folds) if not plan.fold_file(number).exists()]
    values = {"plan": dataclasses.asdict(plan), "parts": parts.project_texts()}
    with reraise_user_error(plan), ray_watch.raise_outage(paths.root):
        jobs = [remote.remote(values, number) for number in missing]
        waiting = jobs
        while waiting:
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL_SECONDS)
            progress(stage="train", doing=f"folds, {plan.folds - len(waiting)} of {plan.folds}")
        ray.get(jobs)
    found = load(plan)
    assert found
    return found


def _train_remotely(values: dict[str, Any], number: int) -> None:
    """Train one fold in one of Ray's workers; a user's mistake is left to the driver."""
    lower_priority()
    torch.set_num_threads(1)
    parts.adopt(values["parts"])
    plan = RunPlan(**values["plan"]).on_this_machine()
    try:
        train_fold(plan, number)
    except UserError as error:
        note_mistake(plan, error)
