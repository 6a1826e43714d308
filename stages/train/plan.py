"""Plan a training run: all that its result depends on, from the YAML, the choice and the code."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.data.feed import batches
from evergreen.data.feed.bucketing import LengthBucketing
from evergreen.data.feed.sampler import RowWeights
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import find_architecture, list_architectures
from evergreen.stages.artifacts import folder_version
from evergreen.stages.code_version import learned_code_version
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.train.transfer import InitWeights
from evergreen.stages.trials.folds import default_folds
from evergreen.stages.trials.out_of_fold import FoldPlan
from evergreen.stages.trials.trial import split_config_and_options

LOCATION_FIELDS = ("ready", "folder", "start_folder")  # folders do not change the result


@dataclass(frozen=True)
class RunPlan(FoldPlan):
    """Hold all that a worker needs; the result depends on all of it but the folders."""

    refit: bool  # on the validation rows as well
    window: int  # rows that are shuffled at a time when streamed; 0: all, in memory
    validation_rows: int  # at most so many rows validate; 0: all
    device: str
    trial: int | None  # the number of the trial that the values come from
    start: str = ""  # the released version whose weights it begins with, as NAME@VERSION, or nothing
    start_bytes: str = ""  # what that version is
    start_folder: str = ""  # where it lies
    freeze: str = "nothing"  # the weights that are not trained
    strategy: dict[str, Any] = field(default_factory=dict)  # how workers hold and compute the network
    provisional: str = ""  # why the choice of the architecture or its options is not final yet

    def ending_at(self, best_epoch: int, epochs: int) -> Self:
        """Return this plan as one that keeps its last epoch: of so many the best one, where that may be chosen."""
        changes: dict[str, Any] = {"keep": "last"}
        if self.settles_epochs or self.recipe["keep"] == "best":
            changes |= {"epochs": epochs, "stop_epoch": best_epoch}
        return dataclasses.replace(self, recipe=self.recipe | changes).in_folder(Path(self.folder).parent)

    def key(self) -> str:
        """Return a hash that is equal for runs with equal results."""
        values = dataclasses.asdict(self) | dict.fromkeys(LOCATION_FIELDS)
        values["recipe"] = values["recipe"] | {"checkpoint_seconds": None}
        values["workers"] = 1  # as many as there may be: they learn from the same batches
        del values["provisional"], values["remote"], values["strategy"]
        if self.strategy.get("profile"):  # a run that is finished has no trace
            values["profile"] = True
        return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()

    def in_folder(self, runs: Path) -> Self:
        """Return this plan with its own folder among the pipeline's runs."""
        return dataclasses.replace(self, folder=str(runs / self.key()))


def plan_run(config: TrainConfig, paths: Paths, task: str) -> RunPlan:
    """Plan a run from the YAML's numbers, the choice and, before both, the version whose weights it starts with."""
    from evergreen.stages.engines.shared_storage import run_places, share_folder

    choice = read_json(paths.tune if paths.tune.exists() else paths.select)
    start = InitWeights.find(config.init_from, paths) if config.init_from else None
    if start and start.architecture != choice["architecture"]:
        choice = {"architecture": start.architecture}
    given = {**config.options, **config.recipe()}
    values = {**choice.get("options", {}), **given}
    recipe, options = split_config_and_options(choice["architecture"], values)
    if config.train_on_validation:
        recipe = recipe.replace(keep="last", patience=0)
    data = folder_version(paths.ready)
    places = run_places(paths, data)
    start_folder = share_folder(paths.root, start.folder, "start", paths.name, start.bytes) if start else ""
    if start and places["remote"]:
        places["remote"]["start_folder"], start_folder = start_folder, str(start.folder)
    spec = FeatureSpec.load(paths.ready)
    _check_feed(config, choice["architecture"], spec)
    window = batches.shuffle_window_rows(spec, paths.ready, config.memory_mb)
    is_free = (
        config.train_on_validation is None and config.restore != "best" and not (recipe.patience or start or window)
    )
    folds = default_folds(spec, paths.ready) if is_free else 0
    return RunPlan(
        task=task,
        architecture=choice["architecture"],
        options=start.options if start else options,
        recipe=dataclasses.asdict(recipe),
        augment=config.augment,
        refit=bool(config.train_on_validation or folds),
        folds=folds,
        settles_epochs=bool(folds) and not (config.restore or given.keys() & {"epochs", "stop_epoch"}),
        balance=config.class_balanced,
        bucket=config.bucket_by_length,
        window=window,
        validation_rows=batches.max_rows_in_memory(spec, ("train", "validation"), config.memory_mb),
        device=config.device,
        data_version=data,
        code_version=learned_code_version("train", spec.to_json(), task, choice["architecture"]),
        trial=choice.get("trial"),
        **places,
        start=start.name if start else "",
        start_bytes=start.bytes if start else "",
        start_folder=start_folder,
        freeze="features" if config.freeze == "backbone" else "nothing",  # as runs and models record it
        strategy=_strategy(config, is_remote=bool(places["remote"])),
        provisional=choice.get("provisional", ""),
    ).in_folder(Path(places["folder"]))


def _strategy(config: TrainConfig, *, is_remote: bool) -> dict[str, Any]:
    """Return how workers hold the network. Raises PipelineError where they see no folder for their shares."""
    if is_remote and config.parallel == "fsdp":
        fix = "let storage in cluster.yaml be a folder that all machines see, or leave parallel out"
        raise PipelineError("fsdp: each worker writes its share of a checkpoint into one folder", fix=fix)
    return config.strategy | ({"parallel": "ddp"} if is_remote else {})


def _check_feed(config: TrainConfig, name: str, spec: FeatureSpec) -> None:
    """Raise DataError or PipelineError where the rows or the architecture cannot be fed as configured."""
    RowWeights(spec, config.class_balanced)
    if not config.bucket_by_length:
        return
    LengthBucketing(spec)
    if not find_architecture(name).CAN_TRIM_PADDING:
        able = ", ".join(one for one in list_architectures() if find_architecture(one).CAN_TRIM_PADDING)
        fix = f"leave it out, or choose {able}"
        raise PipelineError(f"bucket_by_length: {name} needs all rows of one length", fix=fix)
