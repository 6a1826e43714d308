"""Train a network once a fold, so that each training and validation row is answered by one that never saw it.

Select compares its finalists by these answers, and train settles by them how the one that was chosen ends. What a fold
answers depends on a FoldPlan alone and is stored under its key, so neither trains again what the other has trained.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import torch
from torch import Tensor

from evergreen.core.addresses import join
from evergreen.core.files import atomic_write
from evergreen.data import prepared
from evergreen.data.feed.batches import InMemoryBatches, load_encoded_split
from evergreen.data.feed.bucketing import LengthBucketing
from evergreen.data.feed.sampler import RowWeights, WeightedSampler, epoch_seed
from evergreen.data.prepared import columns
from evergreen.data.spec import FeatureSpec
from evergreen.models.base import Task
from evergreen.models.network import Network
from evergreen.models.registry import build, find_architecture
from evergreen.models.training import checkpoint
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.trainer import Trainer
from evergreen.stages.engines.shared_storage import Mirror, fetch_folder, own_folder
from evergreen.stages.trials.folds import fold_ids, split_fold

MIN_STEPS = 400  # updates that a fold trains for at least, where nobody has set epochs: the best of them is kept
WEIGHT, CLASS = "_weight", "_class"
SPLITS = ("train", "validation")
LOCATION_FIELDS = ("ready", "folder", "remote")
Batch = dict[str, Any]


@dataclass(frozen=True)
class FoldPlan:
    """Hold all that the answers of folds depend on."""

    task: str
    architecture: str
    options: dict[str, Any]  # the constructor's
    recipe: dict[str, Any]
    augment: bool
    balance: bool  # each class equally often
    bucket: bool  # rows of about one length together
    folds: int  # whose networks calibrate a refit; 0: the same run without the validation rows does
    settles_epochs: bool  # the folds choose how many, for nobody has set them
    data_version: str
    code_version: str  # of the stage train and the parts that it uses
    ready: str
    folder: str  # of one run, beside that of the folds
    remote: dict[str, str]  # where workers find these, by the same names, if not there

    @property
    def places(self) -> dict[str, Any]:
        """Its location fields, for another plan of the same rows."""
        return {name: getattr(self, name) for name in LOCATION_FIELDS}

    def on_this_machine(self) -> Self:
        """Return the plan with the places that a worker on this machine has; rows are fetched once."""
        fetched: dict[str, Any] = {
            name: str(fetch_folder(place)) for name, place in self.remote.items() if name != "folder"
        }
        if runs := self.remote.get("folder"):
            fetched["folder"] = str(own_folder(runs) / Path(self.folder).name)
        return dataclasses.replace(self, **fetched)

    def mirror(self, folder: Path) -> Mirror:
        """Return what keeps a folder of the runs as workers have it, wherever they are."""
        runs = self.remote.get("folder", "")
        return Mirror(folder, join(runs, folder.name) if runs else "")

    @property
    def fold_key(self) -> str:
        """A hash that is equal where folds answer alike."""
        names = [field.name for field in dataclasses.fields(FoldPlan) if field.name not in LOCATION_FIELDS]
        values = {name: getattr(self, name) for name in names}
        values["recipe"] = self.recipe | {"checkpoint_seconds": None}
        return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()

    def fold_file(self, number: int) -> Path:
        """Return the file of what a fold has answered."""
        return Path(self.folder).parent / f"folds-{self.fold_key}" / f"{number}.safetensors"


@dataclass(frozen=True)
class OutOfFold:
    """Hold the metric inputs of all rows after each epoch, by networks that have not seen them."""

    outputs: list[Tensor]  # an epoch (N, …)
    target: Tensor
    sizes: tuple[int, ...] = ()  # rows of each fold

    def best_epoch(self, task: Task) -> int:
        """Return the last epoch that is no more than one standard error behind the best on the same rows.

        The best of many epochs looks better than it is, and the last ones are those of the lowest learning rates.
        """
        sign = 1 if task.ROW_SCORE_GOAL == "min" else -1
        errors_EN = sign * torch.stack([self._row_scores(task, output) for output in self.outputs])
        means_E = errors_EN.mean(1).nan_to_num(torch.inf, posinf=torch.inf)
        behind_EN = errors_EN - errors_EN[means_E.argmin()]
        limits_E = behind_EN.std(1) / behind_EN.shape[1] ** 0.5
        return 1 + int((behind_EN.mean(1) <= limits_E).nonzero().max())

    def facts(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the metric inputs after an epoch, counted from 1; after the last one that no fold diverged before."""
        return self.outputs[min(epoch, len(self.outputs)) - 1], self.target

    def judge(self, task: Task, epoch: int) -> tuple[list[float], list[float], float]:
        """Return the deciding metric of each fold, that of each row, and the mean loss, as the model will answer.

        So probabilities are calibrated, by all folds.
        """
        output, target = self.facts(epoch)
        if task.HAS_PROBABILITIES:
            output = output / task.calibrate_probabilities(output, target)["temperature"]
        blocks = list(zip(output.split(self.sizes), target.split(self.sizes), strict=True))
        name = next(iter(task.METRICS))
        rows = self._row_scores(task, output)
        return [task.metrics(*block)[name] for block in blocks], rows.tolist(), float(rows.mean())

    def _row_scores(self, task: Task, output: Tensor) -> Tensor:
        """Return the deciding quantity of each row, which may compare it with others of its fold."""
        sizes = self.sizes or (len(self.target),)
        blocks = zip(output.split(sizes), self.target.split(sizes), strict=True)
        return torch.cat([task.row_scores(*block).double() for block in blocks])


def kept_epoch(plan: FoldPlan, found: OutOfFold, task: Task) -> int:
    """Return the epoch at which a network of all rows ends: the last one, where a penalty's strength is chosen instead.

    Before it, the weights of a convex loss are those that a high learning rate left.
    """
    return len(found.outputs) if find_architecture(plan.architecture).STRENGTHS else found.best_epoch(task)


def build_network(plan: FoldPlan) -> tuple[Network, TrainingConfig, FeatureSpec]:
    """Build the plan's network with random weights, a function of its seed."""
    config, spec = TrainingConfig(**plan.recipe), FeatureSpec.load(Path(plan.ready))
    torch.manual_seed(config.seed)
    network = build(plan.architecture, plan.task, spec.inputs, spec.target, spec.task_options, **plan.options)
    if plan.balance:
        network.task.correct_priors()
    return network, config, spec


def row_weights(plan: FoldPlan, spec: FeatureSpec, task: Task, *, refit: bool = True) -> RowWeights | None:
    """Return how often each row is drawn, or None where each is once; some validation rows may not be learned from."""
    chooses = refit and type(task).trainable_rows is not Task.trainable_rows
    learned = (lambda target: task.trainable_rows(torch.as_tensor(target)).numpy()) if chooses else None
    weigh = RowWeights(spec, plan.balance, prepared.WEIGHT in columns(Path(plan.ready), "train"), learned)
    return weigh if weigh.needed else None


def build_fold(plan: FoldPlan, number: int) -> Trainer:
    """Build the trainer of one fold: it learns from the rows of all others, and validates on its own."""
    return Trainer(*prepare_fold(plan, number))


def prepare_fold(plan: FoldPlan, number: int) -> tuple[Network, InMemoryBatches, Batch, TrainingConfig]:
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


def train_fold(plan: FoldPlan, number: int, deadline: float = math.inf) -> bool:
    """Train one fold to its end, and store what its own rows were answered after each epoch.

    Return False where time.monotonic() passed `deadline` before. What is there already is not trained again.
    """
    file = plan.fold_file(number)
    mirror = plan.mirror(file.parent)
    mirror.pull()
    if file.exists():
        return True
    loop, facts = build_fold(plan, number), []
    while not loop.is_finished:
        loop.run(loop.epoch + 1, deadline)
        if time.monotonic() >= deadline:
            return False
        facts.append(loop.facts)
    outputs, targets = zip(*facts, strict=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as new:
        new.write_bytes(checkpoint.encode({"outputs": torch.stack(outputs), "target": targets[0]}, {}))
    mirror.push()
    return True


def load(plan: FoldPlan, n_folds: int = 0) -> OutOfFold | None:
    """Load what the plan's first `n_folds` folds have answered, all of them for 0; None where one is missing."""
    files = [plan.fold_file(number) for number in range(n_folds or plan.folds)]
    plan.mirror(files[0].parent).pull()
    if not all(file.exists() for file in files):
        return None
    blocks = [checkpoint.decode(file.read_bytes())[0] for file in files]
    epochs = zip(*(block["outputs"] for block in blocks), strict=False)  # of a fold that diverged there are fewer
    targets = [block["target"] for block in blocks]
    return OutOfFold([torch.cat(outputs) for outputs in epochs], torch.cat(targets), tuple(map(len, targets)))
