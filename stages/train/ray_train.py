"""Run the workers under Ray Train: how many, on what, restarted when they die; forward their progress."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.core import parts
from evergreen.core.background import in_background
from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress
from evergreen.stages.engines.placement import worker_resources
from evergreen.stages.train.plan import RunPlan
from evergreen.stages.train.worker import MISTAKE, train_worker

if TYPE_CHECKING:
    from evergreen.stages.train.config import TrainConfig


def fit(plan: RunPlan, config: TrainConfig, paths: Paths, progress: Progress) -> None:
    """Train the plan to its end; restart what dies as often as the YAML allows.

    Raises PipelineError for a user's mistake that only a worker could see, OutageError where Ray dies.
    """
    from evergreen.stages.engines import ray_cluster, ray_watch

    ray_cluster.connect(paths.root)
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from evergreen.stages.engines.torch_group import choose_torch_config

    with ray_watch.raise_outage(paths.root):
        resources = ray_watch.ask(ray.cluster_resources)
    each = worker_resources(config.workers, config.device, resources)
    cuda = "GPU" in each
    folder = Path(plan.folder)
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "ray"
    shutil.rmtree(store, ignore_errors=True)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"plan": dataclasses.asdict(plan), "parts": parts.project_texts()},
        torch_config=choose_torch_config(paths.root, "nccl" if cuda else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=cuda,
            resources_per_worker=each,
        ),
        run_config=RunConfig(
            name=uuid.uuid4().hex,  # under a used name Ray would restore what it stored
            storage_path=str(store),
            failure_config=FailureConfig(max_failures=config.max_failures),
        ),
    )
    trainer._register_sigint_handler = lambda controller: None  # Ray's swallows Ctrl-C and stays on after the run
    reported = forward_progress(folder / "progress.jsonl", progress)
    with reported, reraise_user_error(folder / MISTAKE), ray_watch.raise_outage(paths.root):
        trainer.fit()
    shutil.rmtree(store, ignore_errors=True)


@contextlib.contextmanager
def reraise_user_error(note: Path) -> Iterator[None]:
    """Raise the user's mistake that a worker noted, in the place of whatever it led to."""
    note.unlink(missing_ok=True)
    try:
        yield
    finally:
        if note.is_file():
            raise PipelineError(**read_json(note)) from None


@contextlib.contextmanager
def forward_progress(lines: Path, progress: Progress) -> Iterator[None]:
    """Forward what rank 0 appends to `lines`; Ray Train's own reports wait for the controller's next poll."""
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

    with in_background(follow):
        yield
