"""Run the workers under Ray Train: how many, on what, restarted when they die; forward their progress."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core import parts
from evergreen.core.background import in_background
from evergreen.core.errors import DataError, OutageError, PipelineError, UserError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress
from evergreen.data.object_store import ObjectStore
from evergreen.stages.engines.placement import worker_resources
from evergreen.stages.engines.ray_watch import AGAIN
from evergreen.stages.engines.shared_storage import MIRROR_SECONDS
from evergreen.stages.train.plan import RunPlan
from evergreen.stages.train.worker import MISTAKE, PROGRESS, train_worker

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

    from evergreen.stages.train.config import TrainConfig

RESIZE_SECONDS = 60.0  # between two looks whether a range of workers has room for others


def fit(plan: RunPlan, config: TrainConfig, paths: Paths, progress: Progress) -> None:
    """Train the plan to its end; restart what dies as often as the YAML allows.

    Raises PipelineError for a user's mistake that only a worker could see, OutageError where Ray dies.
    """
    from evergreen.stages.engines import ray_cluster, ray_watch

    ray_cluster.connect(paths.root)
    folder = Path(plan.folder)
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "ray"
    shutil.rmtree(store, ignore_errors=True)
    values = {"plan": dataclasses.asdict(plan), "parts": parts.project_texts(), "hang_seconds": config.hang_seconds}
    with ray_watch.raise_outage(paths.root):
        trainer = build_ray_trainer(train_worker, values, config, paths, store)
    lines = folder / PROGRESS
    with (
        reraise_user_error(plan) as remote,
        forward_progress(lines, progress, remote),
        ray_watch.raise_outage(paths.root),
    ):
        fit_or_explain(trainer)
    shutil.rmtree(store, ignore_errors=True)


def build_ray_trainer(
    work: Callable[[dict[str, Any]], Any],
    values: dict[str, Any],
    config: TrainConfig,
    paths: Paths,
    store: Path,
    **how: Any,
) -> TorchTrainer:
    """Build Ray's trainer, whose workers each call `work` with `values`; Ray writes to `store`.

    `how` goes to choose_torch_config.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    from evergreen.stages.engines import ray_watch
    from evergreen.stages.engines.torch_group import LeanTorchTrainer, choose_torch_config

    fewest, most = config.worker_range
    each = worker_resources(fewest, config.device, ray_watch.ask(ray.cluster_resources))
    cuda = "GPU" in each
    return LeanTorchTrainer(
        work,
        train_loop_config=values,
        torch_config=choose_torch_config(paths.root, "nccl" if cuda else "gloo", **how),
        scaling_config=ScalingConfig(
            num_workers=(fewest, most) if most > fewest else fewest,
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
            use_gpu=cuda,
            resources_per_worker=each,
        ),
        run_config=RunConfig(
            name=uuid.uuid4().hex,  # under a used name Ray would restore what it stored
            storage_path=str(store),
            failure_config=FailureConfig(max_failures=config.max_failures),
        ),
    )


def fit_or_explain(trainer: TorchTrainer) -> Any:
    """Return Ray's result. Raises OutageError where the workers gave up for what one of them could tell in a line."""
    from ray.train import TrainingFailedError

    try:
        return trainer.fit()
    except TrainingFailedError as error:
        last = [line for line in str(error).splitlines() if line.strip()][-1].strip()
        kind, _, told = last.partition(": ")
        if not kind.startswith(UserError.__module__):
            raise
        raise OutageError(f"the workers of train gave up: {told}", fix=AGAIN) from None


@contextlib.contextmanager
def reraise_user_error(plan: RunPlan) -> Iterator[ObjectStore | None]:
    """Raise the user's mistake that a worker noted, in the place of whatever it led to; get what else it has left.

    Yields where the workers keep the run, if that is no folder.
    """
    note = Path(plan.folder) / MISTAKE
    mirror = plan.mirror(note.parent)
    mirror.pull()
    note.unlink(missing_ok=True)
    mirror.push()
    try:
        yield mirror.store
    finally:
        mirror.pull()
        if note.is_file():
            raise PipelineError(**read_json(note)) from None


@contextlib.contextmanager
def forward_progress(lines: Path, progress: Progress, store: ObjectStore | None = None) -> Iterator[None]:
    """Forward what rank 0 appends to `lines`, or says last in a file of that name in a store.

    Ray Train's own reports wait for the controller's next poll.
    """
    start = lines.stat().st_size if lines.exists() else 0

    def follow(done: threading.Event) -> None:
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

    def follow_store(done: threading.Event) -> None:
        seen = b""
        while store and not done.wait(MIRROR_SECONDS):
            with contextlib.suppress(DataError):  # nothing was said yet, or it does not answer
                if (line := store.read(lines.name)) != seen:
                    seen = line
                    progress(stage="train", **json.loads(line))

    with in_background(follow_store if store else follow):
        yield
