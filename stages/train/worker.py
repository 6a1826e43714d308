"""Build the plan's trainer in a worker, alone in the run's folder, and run it to its end."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from evergreen.core import parts
from evergreen.core.errors import UserError
from evergreen.core.files import write_json
from evergreen.core.priority import lower_priority
from evergreen.core.processes import exclusive_lock
from evergreen.data.feed.batches import load_encoded_split, training_batches
from evergreen.models.training import finished
from evergreen.models.training.finished import FinishedRun
from evergreen.models.training.strategy import Strategy
from evergreen.models.training.trainer import Trainer, no_report
from evergreen.stages.train import transfer
from evergreen.stages.train.hang_watch import HangWatch
from evergreen.stages.train.plan import RunPlan
from evergreen.stages.trials.out_of_fold import build_network, row_weights

PROGRESS = "progress.jsonl"
MISTAKE = "mistake.json"  # the user's mistake that only training showed
LOCK_SECONDS = 60.0  # how long to wait for another run of the same folder; Ray ends a dead driver's workers in seconds


def build_trainer(
    plan: RunPlan,
    *,
    rank: int = 0,
    world: int = 1,
    device: str = "cpu",
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Trainer:
    """Build the trainer of this plan, continued from its newest checkpoint."""
    ready = Path(plan.ready)
    network, recipe, spec = build_network(plan)
    rows = training_batches(
        ready,
        ["train", "validation"] if plan.refit else ["train"],
        recipe.batch_size,
        window=plan.window,
        seed=recipe.seed,
        rank=rank,
        world=world,
        augment=spec.augment if plan.augment else None,
        bucket=plan.bucket,
        weigh=row_weights(plan, spec, network.task, refit=plan.refit),
    )
    if plan.start:
        transfer.load_matching_weights(network, Path(plan.start_folder), spec)
    if plan.freeze == "features":
        transfer.freeze_backbone(network)
    where: dict[str, Any] = {"device": device, "rank": rank, "world": world, "folder": Path(plan.folder)}
    where |= {"initialize_from_data": not plan.start, "report": report or no_report}
    where |= {"strategy": Strategy(**plan.strategy)}
    validation = load_encoded_split(ready, "validation", plan.validation_rows)
    return Trainer(network, rows, validation, recipe, **where)


def load_finished(plan: RunPlan) -> FinishedRun | None:
    """Load what the plan's run has reached; None where it has not ended. The rows that it learned from are not read."""
    network, config, _ = build_network(plan)
    return finished.load_finished(network, config, Path(plan.folder))


def train_worker(values: dict[str, Any]) -> None:
    """Run one of Ray Train's workers; a user's mistake is left to the driver, since a retry would not mend it."""
    import ray.train
    import ray.train.torch

    lower_priority()
    torch.set_num_threads(1)
    parts.adopt(values["parts"])
    plan = RunPlan(**values["plan"]).on_this_machine()
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    folder = Path(plan.folder)
    device = str(ray.train.torch.get_device())
    # a worker which has not yet heard of its driver's death may still write into the run's folder
    lock = exclusive_lock(folder / ".lock", f"another run writes into {folder}", timeout_s=LOCK_SECONDS)
    mirror = plan.mirror(folder)
    with contextlib.ExitStack() as stack:
        if rank == 0:
            stack.enter_context(lock)
            stack.enter_context(mirror.keep())
        lines = folder / PROGRESS

        watch = stack.enter_context(HangWatch(values["hang_seconds"]))

        def report(facts: dict[str, Any]) -> None:
            watch.beat()
            if rank == 0:
                with lines.open("w" if mirror.store else "a") as file:  # a store takes the whole file each time
                    file.write(json.dumps(facts) + "\n")

        try:
            build_trainer(plan, rank=rank, world=world, device=device, report=report).run()
        except UserError as error:
            note_mistake(plan, error)
            if world > 1:
                raise  # the others wait for this one
            return
        (folder / MISTAKE).unlink(missing_ok=True)  # of an attempt before this one
        if world > 1:
            torch.distributed.barrier()  # nobody leaves before rank 0 has written the last checkpoint


def note_mistake(plan: RunPlan, error: UserError) -> None:
    """Leave a user's mistake to the driver, in the run's folder."""
    note = Path(plan.folder) / MISTAKE
    write_json(note, {"problem": error.problem, "place": error.place, "fix": error.fix})
    plan.mirror(note.parent).push()
