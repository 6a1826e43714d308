"""Train: the one loop, by the choice and the YAML's numbers, under Ray Train on one worker or many.

A run's folder is named by all that decides its result: recipe, choice, data, code, workers. So a finished run is found
again, a killed one goes on from its newest checkpoint, and changed numbers start anew. Ray restarts workers that die;
what it stores itself is never read back.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.artifacts import SCRATCH
from evergreen.stages.train.config import TrainConfig

if TYPE_CHECKING:
    from evergreen.models.network import Network
    from evergreen.models.training.trainer import Trainer
    from evergreen.stages.train.plan import Plan

CHEAP_ROWS = 500_000  # trained in all epochs together: up to it a transfer is compared with training from scratch

VERSION = 1  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


def run(config: TrainConfig, paths: Paths, *, task: str, progress: Progress = no_progress) -> dict[str, Any]:
    """Writes `candidate/` anew. Killed at any moment and called again, it goes on and ends with the same bytes."""
    started = time.monotonic()
    from evergreen.stages.artifacts import save_model
    from evergreen.stages.train.plan import make

    plan = make(config, paths, task)
    loop, reused = _trained(plan, config, paths, progress)
    card = _card(plan, loop)
    network = _settled(plan, loop, config, paths, progress)
    save_model(paths.candidate, network, card, _beside(plan, loop, config, paths, progress))
    _clean(Path(plan.folder), config.storage_bytes)
    seconds = time.monotonic() - started
    best = {"epochs": loop.epoch, "best_epoch": loop.best[0] if loop.best else 0}
    summary = {"architecture": plan.architecture, **best, **card["scores"], "reused": reused, "seconds": seconds}
    progress(stage="train", summary=_said(plan, card, loop.epoch) + " (found finished)" * reused, seconds=seconds)
    return summary


def _trained(plan: Plan, config: TrainConfig, paths: Paths, progress: Progress) -> tuple[Trainer, bool]:
    """The plan's loop at its end, and whether it was found there."""
    from evergreen.stages.train.ray_train import fit
    from evergreen.stages.train.worker import finished

    if loop := finished(plan):
        return loop, True
    fit(plan, config, paths, progress)
    loop = finished(plan)
    if loop is None:
        raise RuntimeError(f"training ended before its last epoch; its checkpoints are in {plan.folder}")
    return loop, False


def _settled(plan: Plan, loop: Trainer, config: TrainConfig, paths: Paths, progress: Progress) -> Network:
    """The plan's network with the weights of the epoch that is kept. Intervals and thresholds of a refit are those of
    the same network without the validation rows: what has learned from rows errs less on them than on new ones."""
    network, weights = loop.network, loop.best_state()
    chosen = [name for name, _ in network.named_buffers() if name.startswith("task.") and name in weights]
    if plan.refit and chosen:
        before = dataclasses.replace(plan, refit=False).at_home(Path(plan.folder).parent)
        held = _trained(before, config, paths, progress)[0].best_state()
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


def _card(plan: Plan, loop: Trainer) -> dict[str, Any]:
    from evergreen.data.spec import FeatureSpec

    kept = ("architecture", "options", "recipe", "task", "data_version", "code_version", "trial", "refit")
    begun = {"start": plan.start, "start_bytes": plan.start_bytes, "freeze": plan.freeze} if plan.start else {}
    best = loop.best[1] if loop.best and not plan.refit else {}  # rows that were trained on score nothing
    scores = {name: value for name, value in best.items() if name != "epoch"}
    return {
        **{name: getattr(plan, name) for name in kept},
        **begun,
        "spec": FeatureSpec.load(Path(plan.ready)).to_json(),
        "seed": plan.recipe["seed"],
        "parameters": sum(one.numel() for one in loop.network.parameters()),
        "history": loop.history,
        "scores": scores,
    }


def _beside(
    plan: Plan, loop: Trainer, config: TrainConfig, paths: Paths, progress: Progress
) -> dict[str, tuple[Network, dict[str, Any]]]:
    """What a transfer is judged by: the same network trained from scratch, where that is cheap."""
    if not plan.start or loop.train.rows * plan.recipe["epochs"] > CHEAP_ROWS:
        return {}
    alone = dataclasses.replace(plan, start="", start_bytes="", start_folder="", freeze="nothing")
    other, _ = _trained(alone.at_home(Path(plan.folder).parent), config, paths, progress)
    return {SCRATCH: (_settled(alone, other, config, paths, progress), _card(alone, other))}


def _clean(kept: Path, budget: int) -> None:
    """Removes the oldest other runs of this pipeline until all of them together fit the budget, bytes."""
    runs = sorted((one for one in kept.parent.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    sizes = {one: sum(file.stat().st_size for file in one.rglob("*") if file.is_file()) for one in runs}
    for one in runs:
        if one != kept and sum(sizes.values()) > budget:
            shutil.rmtree(one, ignore_errors=True)
            del sizes[one]
