"""Train a plan's network once a fold, so that each training and validation row is answered by one that never saw it.

The network that is released learns from all of these rows. What it is worth on new ones the folds tell: at which epoch
it ends, its temperature and thresholds, and how far its answers are off (cross-conformal: Vovk 2015).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor

from evergreen.core import parts
from evergreen.core.errors import UserError
from evergreen.core.files import atomic_write, write_json
from evergreen.core.priority import lower_priority
from evergreen.data import prepared
from evergreen.data.feed.batches import InMemoryBatches, load_encoded_split
from evergreen.data.feed.bucketing import LengthBucketing
from evergreen.data.feed.sampler import WeightedSampler, epoch_seed
from evergreen.models import work
from evergreen.models.base import Task
from evergreen.models.network import Network
from evergreen.models.training import checkpoint
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.trainer import Trainer
from evergreen.stages.train.plan import RunPlan
from evergreen.stages.train.ray_train import reraise_user_error
from evergreen.stages.train.worker import MISTAKE, build_network, row_weights
from evergreen.stages.trials.folds import fold_ids, split_fold

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.core.progress import Progress
    from evergreen.stages.train.config import TrainConfig

WORK = 24.0  # nominal seconds of one core that all folds may take, see models/work.py
MIN_STEPS = 400  # updates that a fold trains for at least, where nobody has set epochs: the best of them is kept
MIN_FOLDS = 3  # fewer learn from too few of the rows to speak for a network of all
POLL_SECONDS = 0.5
WEIGHT, CLASS = "_weight", "_class"
SPLITS = ("train", "validation")
Batch = dict[str, Any]


@dataclass(frozen=True)
class OutOfFold:
    """Hold the metric inputs of all rows after each epoch, by networks that have not seen them."""

    outputs: list[Tensor]  # an epoch (N, …)
    target: Tensor

    def best_epoch(self, task: Task) -> int:
        """Return the last epoch that is no more than one standard error behind the best on the same rows.

        The best of many epochs looks better than it is, and the last ones are those of the lowest learning rates.
        """
        sign = 1 if task.ROW_SCORE_GOAL == "min" else -1
        errors_EN = sign * torch.stack([task.row_scores(output, self.target).double() for output in self.outputs])
        means_E = errors_EN.mean(1).nan_to_num(torch.inf, posinf=torch.inf)
        behind_EN = errors_EN - errors_EN[means_E.argmin()]
        limits_E = behind_EN.std(1) / behind_EN.shape[1] ** 0.5
        return 1 + int((behind_EN.mean(1) <= limits_E).nonzero().max())

    def facts(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the metric inputs after an epoch, counted from 1; after the last one that no fold diverged before."""
        return self.outputs[min(epoch, len(self.outputs)) - 1], self.target


def limit_folds(plan: RunPlan) -> RunPlan:
    """Return the plan with as many folds as its counted work allows; where they are too few, it learns from no more."""
    if not plan.folds:
        return plan
    network, feed, held_out, recipe = _prepare_fold(plan, 0)
    batch = {name: torch.as_tensor(column) for name, column in next(feed.epoch(0)).items()}
    sizes = {"steps": feed.steps(), "epochs": recipe.epochs, "n_validation": len(held_out["target"])}
    folds = min(plan.folds, int(WORK / work.count(network, batch, **sizes).full))
    enough = folds >= MIN_FOLDS
    settles = plan.settles_epochs and enough
    changed = dataclasses.replace(plan, folds=folds if enough else 0, refit=enough, settles_epochs=settles)
    return changed.in_folder(Path(plan.folder).parent)


def build_fold(plan: RunPlan, number: int) -> Trainer:
    """Build the trainer of one fold: it learns from the rows of all others, and validates on its own."""
    return Trainer(*_prepare_fold(plan, number))


def _prepare_fold(plan: RunPlan, number: int) -> tuple[Network, InMemoryBatches, Batch, TrainingConfig]:
    """Return the network of a fold, the batches that it learns from, its own rows, and the configuration."""
    ready = Path(plan.ready)
    network, recipe, spec = build_network(plan)
    recipe = recipe.replace(keep="last", patience=0)  # every epoch is measured
    rows = [load_encoded_split(ready, split) for split in SPLITS]
    if weigh := row_weights(plan, spec, network.task):
        for arrays, split in zip(rows, SPLITS, strict=True):
            table: pa.Table = prepared.read(ready, split, weigh.columns)
            arrays[WEIGHT], arrays[CLASS] = weigh(table)
    ids = fold_ids(ready, dict.fromkeys(SPLITS, 0))
    learned, held_out = split_fold(rows[0], rows[1], ids, (number, plan.folds))
    drawn = None
    if weigh:
        weighed = (learned.pop(WEIGHT), learned.pop(CLASS))
        draws = WeightedSampler([weighed])
        drawn = lambda epoch: draws.chosen(0, weighed, epoch_seed(recipe.seed, epoch))  # noqa: E731
        held_out = {name: column for name, column in held_out.items() if name not in (WEIGHT, CLASS)}
    augment, bucket = spec.augment if plan.augment else None, LengthBucketing(spec) if plan.bucket else None
    how: dict[str, Any] = {"augment": augment, "bucket": bucket, "drawn": drawn}
    feed = InMemoryBatches(learned, recipe.batch_size, seed=recipe.seed, shuffle=True, **how)
    if plan.settles_epochs:
        recipe = recipe.replace(epochs=max(recipe.epochs, -(-MIN_STEPS * recipe.accumulate // feed.steps())))
    return network, feed, held_out, recipe


def train_fold(plan: RunPlan, number: int) -> None:
    """Train one fold to its end, and store what its own rows were answered after each epoch."""
    loop, facts = build_fold(plan, number), []
    while not loop.is_finished:
        loop.run(loop.epoch + 1)
        facts.append(loop.facts)
    outputs, targets = zip(*facts, strict=True)
    file = _file(plan, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as new:
        new.write_bytes(checkpoint.encode({"outputs": torch.stack(outputs), "target": targets[0]}, {}))


def load(plan: RunPlan) -> OutOfFold | None:
    """Load what all folds of the plan have answered; None where one is missing."""
    files = [_file(plan, number) for number in range(plan.folds)]
    if not all(file.exists() for file in files):
        return None
    blocks = [checkpoint.decode(file.read_bytes())[0] for file in files]
    epochs = zip(*(block["outputs"] for block in blocks), strict=False)  # of a fold that diverged there are fewer
    return OutOfFold([torch.cat(outputs) for outputs in epochs], torch.cat([block["target"] for block in blocks]))


def settle(plan: RunPlan, found: OutOfFold) -> RunPlan:
    """Return the plan with the epochs that are best on the rows of all folds, where these may be chosen."""
    return plan.ending_at(found.best_epoch(build_network(plan)[0].task), len(found.outputs))


def run(plan: RunPlan, config: TrainConfig, paths: Paths, progress: Progress) -> OutOfFold:
    """Train the folds that are missing on Ray's free cores; return what all of them have answered."""
    if found := load(plan):
        return found
    from evergreen.stages.engines import ray_cluster, ray_watch

    ray_cluster.connect(paths.root)
    import ray

    folder = Path(plan.folder)
    folder.mkdir(parents=True, exist_ok=True)
    remote = ray.remote(num_cpus=1, max_retries=config.max_failures)(_train_remotely)
    missing = [number for number in range(plan.folds) if not _file(plan, number).exists()]
    values = {"plan": dataclasses.asdict(plan), "parts": parts.project_texts()}
    with reraise_user_error(folder / MISTAKE), ray_watch.raise_outage(paths.root):
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
    plan = RunPlan(**values["plan"])
    try:
        train_fold(plan, number)
    except UserError as error:
        write_json(Path(plan.folder) / MISTAKE, {"problem": error.problem, "place": error.place, "fix": error.fix})


def _file(plan: RunPlan, number: int) -> Path:
    return Path(plan.folder) / "folds" / f"{number}.safetensors"
