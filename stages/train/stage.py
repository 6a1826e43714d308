"""Train once, by the choice and the YAML's numbers, under Ray Train on one worker or many.

A run's folder is named by all that decides its result: recipe, choice, data, code. So a finished run is found
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
    from evergreen.models.training.finished import FinishedRun
    from evergreen.stages.train.cross_validation import OutOfFold
    from evergreen.stages.train.plan import RunPlan

CALIBRATION_ROWS = 20_000  # more validation rows move a temperature no further
CHEAP_ROWS = 500_000  # trained in all epochs together: up to it a transfer is compared with training from scratch

VERSION = 5  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


def run(config: TrainConfig, paths: Paths, *, task: str, progress: Progress = no_progress) -> dict[str, Any]:
    """Train the candidate into `candidate/`. Killed at any moment and called again, it ends with the same bytes."""
    started = time.monotonic()
    from evergreen.core.files import read_json
    from evergreen.models.training.step_trace import TRACE
    from evergreen.stages.artifacts import save_model
    from evergreen.stages.train import cross_validation
    from evergreen.stages.train.plan import plan_run

    choice = read_json(paths.tune if paths.tune.exists() else paths.select)
    plan = cross_validation.limit_folds(plan_run(config, paths, task), choice.get("fold_key", ""))
    folds = cross_validation.run(plan, config, paths, progress) if plan.folds else None
    kept = {plan.fold_file(0).parent}
    plan = cross_validation.settle(plan, folds) if folds else plan
    trained, reused = _train_or_load(plan, config, paths, progress)
    network, card = _calibrate(plan, trained, folds) if folds else _final_model(plan, trained, config, paths, progress)
    save_model(paths.candidate, network, card, _train_from_scratch(plan, config, paths, progress))
    _remove_old_runs({Path(plan.folder), *kept}, config.storage_bytes)
    seconds, epochs = time.monotonic() - started, len(trained.history)
    best = {"epochs": epochs, "best_epoch": trained.best[0] if trained.best else 0}
    summary = {"architecture": plan.architecture, **best, **card["scores"], "reused": reused, "seconds": seconds}
    sentence = _format_summary(plan, card, epochs) + " (finished before)" * reused
    traces = sorted(Path(plan.folder).glob(f"{TRACE}*"))
    sentence += f"; ui.perfetto.dev opens {', '.join(map(str, traces))}" if traces else ""
    progress(stage="train", summary=sentence, seconds=seconds)
    return summary


def _train_or_load(plan: RunPlan, config: TrainConfig, paths: Paths, progress: Progress) -> tuple[FinishedRun, bool]:
    """Train what the plan says; return what was reached, and whether that was there already."""
    from evergreen.stages.train.ray_train import fit
    from evergreen.stages.train.worker import load_finished

    plan.mirror(Path(plan.folder)).pull()
    if trained := load_finished(plan):
        return trained, True
    fit(plan, config, paths, progress)
    trained = load_finished(plan)
    if trained is None:
        raise RuntimeError(f"training ended before its last epoch; its checkpoints are in {plan.folder}")
    return trained, False


def _calibrate(plan: RunPlan, trained: FinishedRun, folds: OutOfFold) -> tuple[Network, dict[str, Any]]:
    """Return the plan's network, calibrated by what the folds' networks answered, and its card."""
    from evergreen.models.training.config import TrainingConfig

    network, task, facts = trained.network, trained.network.task, folds.facts(TrainingConfig(**plan.recipe).last_epoch)
    network.load_state_dict(trained.weights)
    for name, value in task.calibrate(*facts).items():
        task.get_buffer(name).copy_(value)
    card = {**_model_card(plan, trained), "scores": task.metrics(*facts), "folds": plan.folds}
    if task.HAS_PROBABILITIES:
        card["calibration"] = task.calibrate_probabilities(*facts)
    return network, card


def _final_model(
    plan: RunPlan, trained: FinishedRun, config: TrainConfig, paths: Paths, progress: Progress
) -> tuple[Network, dict[str, Any]]:
    """Return the plan's network with the weights of the epoch that is kept, calibrated, and its card.

    A refit takes intervals, thresholds and temperatures from the same network trained without the validation rows: a
    network errs less on rows that it has learned from than on new ones.
    """
    from evergreen.data.feed.batches import load_encoded_split

    network, held_out = trained.network, trained.weights
    chosen = [name for name, _ in network.named_buffers() if name.startswith("task.") and name in held_out]
    if plan.refit and chosen:
        before = dataclasses.replace(plan, refit=False).in_folder(Path(plan.folder).parent)
        held_out = _train_or_load(before, config, paths, progress)[0].weights
    network.load_state_dict(held_out)
    card = _model_card(plan, trained)
    if network.task.HAS_PROBABILITIES:
        n_rows = min(plan.validation_rows or CALIBRATION_ROWS, CALIBRATION_ROWS)
        card["calibration"] = network.calibrate(load_encoded_split(Path(plan.ready), "validation", n_rows))
    network.load_state_dict(trained.weights | {name: network.get_buffer(name).clone() for name in chosen})
    return network, card


def _format_summary(plan: RunPlan, card: dict[str, Any], epochs: int) -> str:
    origin = f", started from {plan.start}" if plan.start else ""
    origin += f", {plan.window:,} rows shuffled at a time" if plan.window else ""
    skipped = sum(record.get("skipped_rows", 0) for record in card["history"])
    micro = max((record.get("micro_batch", 0) for record in card["history"]), default=0)
    origin += f", {micro:,} rows at a time for want of memory" if micro else ""
    origin += f", {skipped:,} rows passed over, whose gradient was no number or leapt" if skipped else ""
    name, value = next((item for item in card["scores"].items() if not item[0].endswith("loss")), ("", 0.0))
    bent = card.get("calibration", {"temperature": 1.0})
    cooled = "; at a temperature of {temperature:g} log-loss {log_loss_before:.4g} became {log_loss_after:.4g}"
    said = f"{name} {value:.4g} after {epochs} epochs"
    if plan.refit:
        said = f"{epochs} epochs on the training and the validation rows"
        said += f"; {name} {value:.4g} over {plan.folds} folds" if plan.folds else ""
    return f"{plan.architecture}{origin}: {said}" + (
        cooled.format(**bent) if bent["temperature"] != 1 and (plan.folds or not plan.refit) else ""
    )


def _model_card(plan: RunPlan, trained: FinishedRun) -> dict[str, Any]:
    from evergreen.data.spec import FeatureSpec

    keys = ("architecture", "options", "recipe", "task", "data_version", "code_version", "trial", "refit")
    origin = {"start": plan.start, "start_bytes": plan.start_bytes, "freeze": plan.freeze} if plan.start else {}
    origin |= {"provisional": plan.provisional} if plan.provisional else {}
    best = trained.best[1] if trained.best and not plan.refit else {}  # rows that were trained on score nothing
    scores = {name: value for name, value in best.items() if name != "epoch"}
    return {
        **{name: getattr(plan, name) for name in keys},
        **origin,
        "spec": FeatureSpec.load(Path(plan.ready)).to_json(),
        "seed": plan.recipe["seed"],
        "parameters": sum(one.numel() for one in trained.network.parameters()),
        "history": trained.history,
        "scores": scores,
    }


def _train_from_scratch(
    plan: RunPlan, config: TrainConfig, paths: Paths, progress: Progress
) -> dict[str, tuple[Network, dict[str, Any]]]:
    """Train the network of a transfer from scratch as well, where that is cheap: validation compares the two."""
    if not plan.start or _training_rows(plan) * plan.recipe["epochs"] > CHEAP_ROWS:
        return {}
    scratch = dataclasses.replace(plan, start="", start_bytes="", start_folder="", freeze="nothing")
    trained, _ = _train_or_load(scratch.in_folder(Path(plan.folder).parent), config, paths, progress)
    return {SCRATCH: _final_model(scratch, trained, config, paths, progress)}


def _training_rows(plan: RunPlan) -> int:
    from evergreen.data.spec import FeatureSpec

    rows = FeatureSpec.load(Path(plan.ready)).rows
    return rows["train"] + (rows["validation"] if plan.refit else 0)


def _remove_old_runs(current: set[Path], budget: int) -> None:
    """Remove the oldest other runs of this pipeline until all of them together fit the budget, bytes."""
    home = next(iter(current)).parent
    runs = sorted((one for one in home.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    sizes = {one: sum(file.stat().st_size for file in one.rglob("*") if file.is_file()) for one in runs}
    for folder in runs:
        if folder not in current and sum(sizes.values()) > budget:
            shutil.rmtree(folder, ignore_errors=True)
            del sizes[folder]
