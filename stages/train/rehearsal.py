"""Let the workers of a training meet before it costs: an all-reduce through their network, and ten timed steps."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from evergreen.core import parts
from evergreen.core.diagnosis import Finding
from evergreen.stages.train.plan import RunPlan, plan_run
from evergreen.stages.train.ray_train import build_ray_trainer
from evergreen.stages.train.worker import build_trainer

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.stages.train.config import TrainConfig

STEPS = 10
WARM_UP = 2  # steps before, in which memory is taken and kernels are chosen
VALUES = 2**20  # numbers that are reduced where no network says how many
MEET_SECONDS = 60  # for an operation between all workers: who waits longer does not hear the others
FIX = (
    "open the ports between the machines to each other, or name their interface in GLOO_SOCKET_IFNAME before ray start"
)


def rehearse(config: TrainConfig, paths: Paths, task: str) -> list[Finding]:
    """Start the workers that train asks for, where it would start them, and return what they measured."""
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    from evergreen.stages.engines import ray_cluster, ray_watch

    plan = None
    if paths.select.is_file() and (paths.ready / "spec.json").is_file():
        plan = plan_run(config, paths, task)
    once = config.model_copy(update={"max_failures": 0})
    values = {"plan": plan and dataclasses.asdict(plan), "parts": parts.project_texts()}
    ray_cluster.connect(paths.root)
    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=paths.home) as store, ray_watch.raise_outage(paths.root):
        try:
            trainer = build_ray_trainer(_measure, values, once, paths, Path(store), timeout_s=MEET_SECONDS)
            found = trainer.fit().return_value
        except (TrainingFailedError, RayError) as error:
            return [Finding("network", "fail", f"the workers of train do not meet ({_reason(error)})", FIX)]
    return [_tell_network(found), *([_tell_time(found, plan)] if plan else [])]


def _tell_network(found: dict[str, Any]) -> Finding:
    where = ", ".join(f"{count} on {host}" for host, count in sorted(Counter(found["hosts"]).items()))
    size, seconds = found["bytes"] / 2**20, found["reduce_seconds"]
    if len(found["hosts"]) == 1:
        return Finding("network", "ok", f"1 worker ({where}), which meets nobody")
    told = f"{len(found['hosts'])} workers ({where}) meet by {found['by']}"
    return Finding("network", "ok", f"{told}; to add up {size:.1f} MiB takes them {1e3 * seconds:.1f} ms")


def _tell_time(found: dict[str, Any], plan: RunPlan) -> Finding:
    step, epochs = found["step_seconds"], plan.recipe["epochs"]
    steps, share = found["steps"] * epochs, found["reduce_seconds"] / found["step_seconds"]
    told = f"a step takes {1e3 * step:.1f} ms, {epochs} epochs of {found['steps']:,} about {steps * step:,.0f} s"
    if len(found["hosts"]) == 1:
        return Finding("time", "ok", told)
    told += f"; {min(1.0, share):.0%} of it is the network's"
    told += f"; {found['why_parallel']}" if found["why_parallel"] else ""
    return Finding("time", "warn", told, "fewer workers may be as fast") if share > 0.5 else Finding("time", "ok", told)


def _measure(values: dict[str, Any]) -> dict[str, Any]:
    """Measure in one of Ray Train's workers; rank 0 answers for all."""
    import socket

    import ray.train
    import ray.train.torch

    torch.set_num_threads(1)
    parts.adopt(values["parts"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = str(ray.train.torch.get_device())
    hosts = [socket.gethostname()]
    found: dict[str, Any] = {}
    if world > 1:
        found["by"] = (
            f"{torch.distributed.get_backend()} through {os.environ.get('GLOO_SOCKET_IFNAME', 'any interface')}"
        )
        hosts *= world
        torch.distributed.all_gather_object(hosts, socket.gethostname())
    count = VALUES
    if values["plan"]:
        plan = RunPlan(**values["plan"]).on_this_machine()
        with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
            trainer = build_trainer(dataclasses.replace(plan, folder=folder), rank=rank, world=world, device=device)
            trainer.run(steps=WARM_UP)
            before = trainer.step
            seconds = _timed(lambda: trainer.run(steps=before + STEPS))
            found["why_parallel"] = trainer.why_parallel
        steps = -(-trainer.train.steps() // trainer.config.accumulate)
        found |= {"steps": steps, "step_seconds": seconds / max(1, trainer.step - before)}
        count = sum(one.numel() for one in trainer.network.parameters() if one.requires_grad)
    block = torch.zeros(count, device=device)
    reduce = (lambda: torch.distributed.all_reduce(block)) if world > 1 else (lambda: None)
    reduce()
    seconds = _timed(lambda: [reduce() for _ in range(STEPS)]) / STEPS
    return {**found, "hosts": hosts, "bytes": block.nbytes, "reduce_seconds": seconds}


def _timed(work: Any) -> float:
    started = time.monotonic()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic() - started


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
