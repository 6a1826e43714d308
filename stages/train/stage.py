"""Train: the one loop, by the choice and the YAML's numbers, under Ray Train on one worker or many.

A run's folder is named by all that decides its result: recipe, choice, data, code, workers. So a finished run is found
again, a killed one goes on from its newest checkpoint, and changed numbers start anew. Ray restarts workers that die;
what it stores itself is never read back.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.artifacts import SCRATCH

if TYPE_CHECKING:
    from evergreen.models.network import Network
    from evergreen.models.training.trainer import Loop
    from evergreen.stages.train.plan import Plan

OWN = (  # fields of Params that are not the recipe's
    "augment",
    "refit",
    "balance",
    "bucket",
    "memory_mb",
    "start_from",
    "freeze",
    "options",
    "workers",
    "device",
    "max_failures",
    "storage_bytes",
)
CHEAP_ROWS = 500_000  # trained in all epochs together: up to it a transfer is compared with training from scratch

BOUNDS = {  # the least and the most, seen before hours are spent on what comes before training
    **dict.fromkeys(("workers", "memory_mb", "epochs", "batch_size", "accumulate", "plateau_patience"), (1, math.inf)),
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
    refit: bool = False  # on the validation rows as well, once all is chosen by them; intervals, by a run without them
    balance: bool = False  # each class equally often, however many rows it has
    bucket: bool = False  # texts or sounds of about one length come together, so that little is padding
    memory_mb: int = 1024  # of each worker, for rows: those that fit, encoded, are kept; else they are streamed
    start_from: str = ""  # NAME@VERSION of a released version whose weights and architecture it begins with
    freeze: Literal["nothing", "features"] = "nothing"  # of what it starts from: the head alone learns, or everything
    options: dict[str, Any] = field(default_factory=dict)  # of the architecture, where the choice's do not serve
    augment: bool = False  # vary training rows as their kinds do: images (not under masks, boxes) are turned, scaled …
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
        if self.freeze != "nothing" and not self.start_from:
            fix = "say which version to start from, or leave freeze out"
            raise PipelineError("freeze without start_from would keep random features", fix=fix)
        if self.start_from and self.options:
            fix = "leave options out: they are those of the version it starts from"
            raise PipelineError("options and start_from contradict each other", fix=fix)
        if self.refit and (self.keep == "best" or self.patience):
            fix = "leave refit out, or keep: best and patience"
            raise PipelineError("refit leaves no rows by which keep: best or patience could decide", fix=fix)

    def recipe(self) -> dict[str, Any]:
        """The recipe's fields that were set."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in OWN and value is not None}


def run(params: Params, paths: Paths, *, task: str, progress: Progress = no_progress) -> dict[str, Any]:
    """Writes `candidate/` anew. Killed at any moment and called again, it goes on and ends with the same bytes."""
    started = time.monotonic()
    from evergreen.stages.artifacts import save_model
    from evergreen.stages.train.plan import make

    plan = make(params, paths, task)
    loop, reused = _trained(plan, params, paths, progress)
    card = _card(plan, loop)
    network = _settled(plan, loop, params, paths, progress)
    save_model(paths.candidate, network, card, _beside(plan, loop, params, paths, progress))
    _clean(Path(plan.folder), params.storage_bytes)
    seconds = time.monotonic() - started
    best = {"epochs": loop.epoch, "best_epoch": loop.best[0] if loop.best else 0}
    summary = {"architecture": plan.architecture, **best, **card["scores"], "reused": reused, "seconds": seconds}
    progress(stage="train", summary=_said(plan, card, loop.epoch) + " (found finished)" * reused, seconds=seconds)
    return summary


def _trained(plan: Plan, params: Params, paths: Paths, progress: Progress) -> tuple[Loop, bool]:
    """The plan's loop at its end, and whether it was found there."""
    from evergreen.stages.train.ray_train import fit
    from evergreen.stages.train.worker import finished

    if loop := finished(plan):
        return loop, True
    fit(plan, params, paths, progress)
    loop = finished(plan)
    if loop is None:
        raise RuntimeError(f"training ended before its last epoch; its checkpoints are in {plan.folder}")
    return loop, False


def _settled(plan: Plan, loop: Loop, params: Params, paths: Paths, progress: Progress) -> Network:
    """The plan's network with the weights of the epoch that is kept. Intervals and thresholds of a refit are those of
    the same network without the validation rows: what has learned from rows errs less on them than on new ones."""
    network, weights = loop.network, loop.best_state()
    chosen = [name for name, _ in network.named_buffers() if name.startswith("task.") and name in weights]
    if plan.refit and chosen:
        before = dataclasses.replace(plan, refit=False).at_home(Path(plan.folder).parent)
        held = _trained(before, params, paths, progress)[0].best_state()
        weights |= {name: held[name] for name in chosen}
    network.load_state_dict(weights)
    return network


def _said(plan: Plan, card: dict[str, Any], epochs: int) -> str:
    begun = f", begun with {plan.start}" if plan.start else ""
    begun += f", {plan.window:,} rows mixed at a time" if plan.window else ""
    if plan.refit:
        return f"{plan.architecture}{begun}: {epochs} epochs on the training and the validation rows"
    name, value = next((item for item in card["scores"].items() if not item[0].endswith("loss")), ("", 0.0))
    return f"{plan.architecture}{begun}: {name} {value:.4g} after {epochs} epochs"


def _card(plan: Plan, loop: Loop) -> dict[str, Any]:
    from evergreen.data.spec import Spec

    kept = ("architecture", "options", "recipe", "task", "data_version", "code_version", "trial", "refit")
    begun = {"start": plan.start, "start_bytes": plan.start_bytes, "freeze": plan.freeze} if plan.start else {}
    best = loop.best[1] if loop.best and not plan.refit else {}  # rows that were trained on score nothing
    scores = {name: value for name, value in best.items() if name != "epoch"}
    return {
        **{name: getattr(plan, name) for name in kept},
        **begun,
        "spec": Spec.load(Path(plan.ready)).to_json(),
        "seed": plan.recipe["seed"],
        "parameters": sum(one.numel() for one in loop.network.parameters()),
        "history": loop.history,
        "scores": scores,
    }


def _beside(
    plan: Plan, loop: Loop, params: Params, paths: Paths, progress: Progress
) -> dict[str, tuple[Network, dict[str, Any]]]:
    """What a transfer is judged by: the same network trained from scratch, where that is cheap."""
    if not plan.start or loop.train.rows * plan.recipe["epochs"] > CHEAP_ROWS:
        return {}
    alone = dataclasses.replace(plan, start="", start_bytes="", start_folder="", freeze="nothing")
    other, _ = _trained(alone.at_home(Path(plan.folder).parent), params, paths, progress)
    return {SCRATCH: (_settled(alone, other, params, paths, progress), _card(alone, other))}


def _clean(kept: Path, budget: int) -> None:
    """Removes the oldest other runs of this pipeline until all of them together fit the budget, bytes."""
    runs = sorted((one for one in kept.parent.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    sizes = {one: sum(file.stat().st_size for file in one.rglob("*") if file.is_file()) for one in runs}
    for one in runs:
        if one != kept and sum(sizes.values()) > budget:
            shutil.rmtree(one, ignore_errors=True)
            del sizes[one]


if __name__ == "__main__":
    from evergreen.stages.pipeline import main

    main("train")
