"""What a worker of training does: it builds the plan's loop, alone in the run's folder, and runs it to its end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.stages.train.plan import Plan

if TYPE_CHECKING:
    from evergreen.data.feed.sampler import RowWeights
    from evergreen.data.spec import FeatureSpec
    from evergreen.models.base import Task
    from evergreen.models.training.trainer import Trainer

MISTAKE = "mistake.json"  # a user's mistake that only training brought to light
LOCK_SECONDS = 60.0  # how long to wait for another run of the same folder; Ray ends a dead driver's workers in seconds


def assemble(
    plan: Plan,
    *,
    rank: int = 0,
    world: int = 1,
    device: str = "cpu",
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Trainer:
    """The loop of this plan, standing where its newest checkpoint left it."""
    import torch

    from evergreen.data.feed.batches import load_encoded_split, training_batches
    from evergreen.data.spec import FeatureSpec
    from evergreen.models.registry import build
    from evergreen.models.training.config import TrainingConfig
    from evergreen.models.training.trainer import Trainer, no_report
    from evergreen.stages.train import transfer

    ready = Path(plan.ready)
    spec = FeatureSpec.load(ready)
    recipe = TrainingConfig(**plan.recipe)
    torch.manual_seed(recipe.seed)
    network = build(plan.architecture, plan.task, spec.inputs, spec.target, spec.task_options, **plan.options)
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
        weigh=_weigh(plan, spec, network.task),
    )
    if plan.start:
        transfer.take(network, Path(plan.start_folder), spec)
    if plan.freeze == "features":
        transfer.freeze(network)
    where: dict[str, Any] = {"device": device, "rank": rank, "world": world, "folder": Path(plan.folder)}
    where |= {"initialize_from_data": not plan.start, "report": report or no_report}
    validation = load_encoded_split(ready, "validation", plan.validation_rows)
    return Trainer(network, rows, validation, recipe, **where)


def _weigh(plan: Plan, spec: FeatureSpec, task: Task) -> RowWeights | None:
    """How often which row comes, where not each comes once; of the validation rows not all may be learned from."""
    import torch

    from evergreen.data.feed.sampler import RowWeights
    from evergreen.data.prepared import WEIGHT, columns
    from evergreen.models.base import Task

    chooses = plan.refit and type(task).trainable_rows is not Task.trainable_rows
    learned = (lambda target: task.trainable_rows(torch.as_tensor(target)).numpy()) if chooses else None
    weigh = RowWeights(spec, plan.balance, WEIGHT in columns(Path(plan.ready), "train"), learned)
    return weigh if weigh.needed else None


def finished(plan: Plan) -> Trainer | None:
    """The loop of a run that has ended; None where there is none."""
    if not any(Path(plan.folder).glob("step-*.safetensors")):
        return None
    loop = assemble(plan)
    return loop if loop.finished else None


def work(values: dict[str, Any]) -> None:
    """What each of Ray Train's workers does. A user's mistake is left to the driver: to try again would not mend it."""
    import ray.train
    import ray.train.torch
    import torch

    from evergreen.core import parts
    from evergreen.core.errors import UserError
    from evergreen.core.files import write_json
    from evergreen.core.processes import exclusive_lock

    torch.set_num_threads(1)
    plan = Plan(**values["plan"])
    parts.adopt(values["parts"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    folder = Path(plan.folder)
    device = str(ray.train.torch.get_device())
    # a worker which has not yet heard of its driver's death may still write into the run's folder
    lock = exclusive_lock(folder / "lock", f"another run writes into {folder}", timeout_s=LOCK_SECONDS)
    with lock if rank == 0 else contextlib.nullcontext():
        lines = folder / "progress.jsonl"

        def report(facts: dict[str, Any]) -> None:
            if rank == 0:
                with lines.open("a") as file:
                    file.write(json.dumps(facts) + "\n")

        try:
            assemble(plan, rank=rank, world=world, device=device, report=report).run()
        except UserError as error:
            write_json(folder / MISTAKE, {"problem": error.problem, "place": error.place, "fix": error.fix})
            if world > 1:
                raise  # the others wait for this one
            return
        (folder / MISTAKE).unlink(missing_ok=True)  # of an attempt before this one
        if world > 1:
            torch.distributed.barrier()  # nobody leaves before rank 0 has written the last checkpoint
