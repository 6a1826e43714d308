"""Train: the one loop, by the choice and the YAML's numbers, under Ray Train on one worker or many.

A run's folder is named by all that decides its result: recipe, choice, data, code, workers. So a finished run is found
again, a killed one goes on from its newest checkpoint, and changed numbers start anew. Ray restarts workers that die;
what it stores itself is never read back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.artifacts import Paths
from stages.progress import Progress, quiet
from stages.settings import PipelineError
from stages.worker import Plan, finished, work

if TYPE_CHECKING:
    from models.loop import Loop

OWN = (
    "augment",
    "refit",
    "workers",
    "device",
    "max_failures",
    "storage_bytes",
)  # fields of Params that are not the recipe's


BOUNDS = {  # the least and the most, seen before hours are spent on what comes before training
    **dict.fromkeys(("workers", "epochs", "batch_size", "accumulate", "plateau_patience"), (1, math.inf)),
    **dict.fromkeys(("max_failures", "storage_bytes", "weight_decay", "clip", "mixup"), (0, math.inf)),
    **dict.fromkeys(("patience", "checkpoint_seconds"), (0, math.inf)),
    **dict.fromkeys(("momentum", "layer_decay", "warmup_share", "ema", "swa"), (0, 1)),
}


@dataclass(frozen=True)
class Params:
    """How the candidate is trained. What is None is taken from tune, else from the architecture, else from Recipe."""

    workers: int = 1  # processes that share each batch
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: cuda where the cluster has it
    max_failures: int = 3  # times that dead workers are started again
    storage_bytes: int = 2 * 2**30  # checkpoints of earlier runs are removed above it, the oldest first
    seed: int = 0
    refit: bool = False  # train on the validation rows as well, now that everything is chosen by them
    augment: bool = False  # vary training rows as their kinds do: images move by up to an eighth of their side
    epochs: int | None = None
    batch_size: int | None = None  # rows, over all workers
    learning_rate: float | None = None
    weight_decay: float | None = None
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "muon"] | None = None  # muon: hidden matrices, adamw the rest
    momentum: float | None = None  # of sgd: the share of the last step's direction that is kept
    layer_decay: float | None = None  # each layer learns at this share of the rate of the one nearer the output
    schedule: Literal["cosine", "constant", "one_cycle", "plateau"] | None = None  # of the learning rate
    warmup_share: float | None = None  # of all steps, in which cosine and plateau climb to their peak
    plateau_patience: int | None = None  # epochs without a better validation after which a plateau's rate falls
    clip: float | None = None  # largest norm of the gradient, 0 is off
    accumulate: int | None = None  # batches that make one step
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    ema: float | None = None  # share of the running mean of weights that a step keeps, 0 is off
    swa: float | None = None  # share of all steps, the last ones, whose weights are averaged evenly instead, 0 is off
    mixup: float | None = None  # α of the Beta distribution by which pairs of rows are mixed, 0 is off
    patience: int | None = None  # epochs without a better validation after which it ends, 0 is never
    keep: Literal["best", "last"] | None = None  # the epoch whose weights are the result
    checkpoint_seconds: float | None = None  # between two checkpoints; 0 is after every step

    def __post_init__(self) -> None:
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                fix = f"give at least {least}" if most == math.inf else f"give a share between {least} and {most}"
                raise PipelineError(f"{name} is {value}", fix=fix)
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise PipelineError(f"learning_rate is {self.learning_rate}", fix="give a number above 0")
        if self.refit and (self.keep == "best" or self.patience):
            fix = "leave refit out, or keep: best and patience"
            raise PipelineError("refit leaves no rows by which keep: best or patience could decide", fix=fix)

    def recipe(self) -> dict[str, Any]:
        """The recipe's fields that were set."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in OWN and value is not None}


def run(params: Params, paths: Paths, *, task: str, progress: Progress = quiet) -> dict[str, Any]:
    """Writes `candidate/` anew. Killed at any moment and called again, it goes on and ends with the same bytes."""
    started = time.monotonic()
    plan = _plan(params, paths, task)
    reused = finished(plan) is not None
    if not reused:
        _fit(plan, params, paths, progress)
    loop = finished(plan)
    if loop is None:
        raise RuntimeError(f"training ended before its last epoch; its checkpoints are in {plan.folder}")
    card = _card(plan, loop)
    _save(plan, loop, card, paths)
    _clean(Path(plan.folder), params.storage_bytes)
    seconds = time.monotonic() - started
    best = {"epochs": loop.epoch, "best_epoch": loop.best[0] if loop.best else 0}
    summary = {"architecture": plan.architecture, **best, **card["scores"], "reused": reused, "seconds": seconds}
    progress(stage="train", summary=_said(plan, card, loop.epoch) + " (found finished)" * reused, seconds=seconds)
    return summary


def _said(plan: Plan, card: dict[str, Any], epochs: int) -> str:
    if plan.refit:
        return f"{plan.architecture}: {epochs} epochs on the training and the validation rows"
    name, value = next((item for item in card["scores"].items() if not item[0].endswith("loss")), ("", 0.0))
    return f"{plan.architecture}: {name} {value:.4g} after {epochs} epochs"


def _plan(params: Params, paths: Paths, task: str) -> Plan:
    from stages import cluster
    from stages.artifacts import code_version, folder_version, read_json
    from stages.trials.trial import divide

    choice = read_json(paths.tune if paths.tune.exists() else paths.select)
    architecture = choice["architecture"]
    recipe, options = divide(architecture, {**choice.get("options", {}), **params.recipe()})
    if params.refit:
        recipe = recipe.but(keep="last", patience=0)
    plan = Plan(
        task=task,
        architecture=architecture,
        options=options,
        recipe=dataclasses.asdict(recipe),
        augment=params.augment,
        refit=params.refit,
        workers=params.workers,
        device=params.device,
        data_version=folder_version(paths.ready),
        code_version=code_version(),
        trial=choice.get("trial"),
        ready=str(paths.ready.resolve()),
    )
    storage = cluster.settings(paths.root).storage
    folder = (Path(storage) / "runs" / paths.name if storage else paths.run_folder.resolve()) / plan.key()
    return dataclasses.replace(plan, folder=str(folder), ready=_ready(plan, storage, paths))


def _ready(plan: Plan, storage: str, paths: Paths) -> str:
    """The prepared rows where all machines see them: copied once into a real cluster's storage."""
    if not storage:
        return plan.ready
    from stages.artifacts import replace_folder

    shared = Path(storage) / "ready" / paths.name / plan.data_version
    if not shared.exists():
        with replace_folder(shared) as new:
            shutil.copytree(plan.ready, new, dirs_exist_ok=True)
    return str(shared)


def _fit(plan: Plan, params: Params, paths: Paths, progress: Progress) -> None:
    from stages import cluster

    cluster.connect(paths.root)
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    cuda = params.device == "cuda" or (params.device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1)
    folder = Path(plan.folder)
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "ray"
    shutil.rmtree(store, ignore_errors=True)
    trainer = TorchTrainer(
        work,
        train_loop_config=dataclasses.asdict(plan),
        torch_config=TorchConfig(backend="nccl" if cuda else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=params.workers, use_gpu=cuda, resources_per_worker=_share(params, cuda)
        ),
        run_config=RunConfig(
            name=uuid.uuid4().hex,  # a name that was used would bring back what Ray stored under it
            storage_path=str(store),
            failure_config=FailureConfig(max_failures=params.max_failures),
        ),
    )
    trainer._register_sigint_handler = lambda controller: None  # Ray's swallows Ctrl-C and stays on after the run
    with _told(folder / "progress.jsonl", progress):
        trainer.fit()
    shutil.rmtree(store, ignore_errors=True)


def _share(params: Params, cuda: bool) -> dict[str, float]:
    """A core for each worker, or an even share where there are fewer cores than workers."""
    import ray

    share = min(1.0, ray.cluster_resources().get("CPU", 1.0) / params.workers)
    return {"CPU": share, "GPU": 1} if cuda else {"CPU": share}


@contextlib.contextmanager
def _told(lines: Path, progress: Progress) -> Iterator[None]:
    """Passes on what rank 0 appends to `lines`. Ray Train's own reports wait for the controller's next look."""
    done = threading.Event()
    start = lines.stat().st_size if lines.exists() else 0

    def follow() -> None:
        position, last = start, False
        while not last:
            last = done.wait(0.2)
            if not lines.exists():
                continue
            with lines.open("rb") as file:
                file.seek(position)
                for line in file:
                    if line.endswith(b"\n"):
                        position += len(line)
                        progress(stage="train", **json.loads(line))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _card(plan: Plan, loop: Loop) -> dict[str, Any]:
    from data.spec import Spec

    kept = ("architecture", "options", "recipe", "task", "data_version", "code_version", "trial", "refit")
    best = loop.best[1] if loop.best and not plan.refit else {}  # rows that were trained on score nothing
    scores = {name: value for name, value in best.items() if name != "epoch"}
    return {
        **{name: getattr(plan, name) for name in kept},
        "spec": Spec.load(Path(plan.ready)).to_json(),
        "seed": plan.recipe["seed"],
        "parameters": sum(one.numel() for one in loop.network.parameters()),
        "history": loop.history,
        "scores": scores,
    }


def _save(plan: Plan, loop: Loop, card: dict[str, Any], paths: Paths) -> None:
    from stages.artifacts import save_model

    loop.network.load_state_dict(loop.best_state())
    save_model(paths.candidate, loop.network, card)


def _clean(kept: Path, budget: int) -> None:
    """Removes the oldest other runs of this pipeline until all of them together fit the budget, bytes."""
    runs = sorted((one for one in kept.parent.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    sizes = {one: sum(file.stat().st_size for file in one.rglob("*") if file.is_file()) for one in runs}
    for one in runs:
        if one != kept and sum(sizes.values()) > budget:
            shutil.rmtree(one, ignore_errors=True)
            del sizes[one]


if __name__ == "__main__":
    from stages.pipeline import main

    main("train")
