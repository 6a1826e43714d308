"""Run shards in threads of this process, or on Ray's workers where rows are many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.core import parts
from evergreen.core.priority import run_at_low_priority
from evergreen.stages.engines import ray_watch
from evergreen.stages.preprocess.shards import PrepareJob, Shard, prepare_shard

if TYPE_CHECKING:
    from evergreen.stages.preprocess.counts import ShardCounts

MANY = 5_000_000  # rows from which on Ray's workers may be worth their start
THREADS = 4  # cores that threads of one interpreter keep busy
BASE_MB, EACH_MB = 384, 128  # memory of Python with torch and Arrow, and of each thread that prepares


def run_shards(
    shards: Sequence[Shard], work: PrepareJob, root: Path, report_rows: Callable[[int], None]
) -> list[ShardCounts]:
    """Return the counts of all shards in order; `report_rows` is called with the rows of each when it is done."""
    by_ray = use_ray(sum(shard.rows for shard in shards), root)
    hands = len(shards) if by_ray else min(len(shards), max(1, (work.memory_mb - BASE_MB) // EACH_MB))
    counts: dict[int, ShardCounts] = {}
    with ray_watch.raise_outage(root) if by_ray else nullcontext():
        for place, tally in (_by_ray if by_ray else _by_threads)(shards, work, root, hands):
            counts[place] = tally
            report_rows(tally.raw)
    return [counts[place] for place in range(len(shards))]


def use_ray(rows: int, root: Path) -> bool:
    """Tell whether Ray's workers are worth it: rows are many, and more cores are reached than threads use."""
    from evergreen.stages.engines import cluster_file

    if rows < MANY:
        return False
    real = cluster_file.read(root)
    if real.address:  # its machines must see the clone under this path
        return bool(real.storage) and root.resolve().is_relative_to(real.storage)
    return (os.cpu_count() or 1) > THREADS


def _by_threads(
    shards: Sequence[Shard], work: PrepareJob, _root: Path, hands: int
) -> Iterator[tuple[int, ShardCounts]]:
    hands = min(hands, os.cpu_count() or 1)
    if hands == 1:
        yield from ((place, prepare_shard(shard, work)) for place, shard in enumerate(shards))
        return
    with ThreadPoolExecutor(hands) as pool:
        waiting = {pool.submit(prepare_shard, shard, work): place for place, shard in enumerate(shards)}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare(shard: Shard, shared: tuple[PrepareJob, dict[str, str]]) -> ShardCounts:
    parts.adopt(shared[1])
    return run_at_low_priority(prepare_shard, shard, shared[0])


def _by_ray(shards: Sequence[Shard], work: PrepareJob, root: Path, hands: int) -> Iterator[tuple[int, ShardCounts]]:
    import ray

    from evergreen.stages.engines import ray_cluster

    ray_cluster.connect(root)
    task, shared = ray.remote(num_cpus=1, max_retries=2)(_prepare), ray.put((work, parts.project_texts()))
    left = list(enumerate(shards))[::-1]
    waiting: dict[ray.ObjectRef, int] = {}
    try:
        while left or waiting:
            while left and len(waiting) < hands:  # Ray starts as many of them as there are cores
                place, shard = left.pop()
                waiting[task.remote(shard, shared)] = place
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    finally:
        for call in waiting:
            ray.cancel(call)
