"""Inspect the machines that a pipeline is to run on, this one or those of a cluster."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.addresses import is_address, join
from evergreen.core.diagnosis import Finding
from evergreen.core.errors import PipelineError, UserError
from evergreen.core.files import make_private, read_json
from evergreen.data.object_store import ObjectStore
from evergreen.stages.engines import cluster_file
from evergreen.stages.engines.preflight.cluster_checks import Machine, Seen, check_cluster
from evergreen.stages.engines.preflight.node_checks import Given, check_node, fingerprint, list_versions, tell_time

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.stages.pipeline import Pipeline

ANSWER_SECONDS = 120.0  # in which a machine has to answer: Evergreen's code travels there first
CHECKPOINTS = 3  # two are kept, and one is being written
COPIES = 5  # of the weights in a checkpoint and in memory: they, the best ones, two moments, a running mean
CLIENT = "ray://"  # addresses of Ray's client, which is no machine of the cluster
PROCESS_BYTES = 400 * 2**20  # of a process with torch
_passed: set[tuple[Path, str]] = set()  # pipelines that this process has inspected


def refuse_unfit(pipeline: Pipeline, paths: Paths) -> None:
    """Inspect the cluster, if there is one, once a process.

    Raises:
        PipelineError: its machines cannot run the pipeline.
        OutageError: it does not answer.
    """
    key = paths.root.resolve(), paths.name
    address = cluster_file.read(paths.root).address
    if key in _passed or not address or address.startswith(CLIENT):
        return
    refused = [finding for finding in _inspect_cluster(pipeline, paths) if finding.state == "fail"]
    if refused:
        more = f"; and {len(refused) - 1} more: evergreen preflight {paths.name}" if refused[1:] else ""
        raise PipelineError(refused[0].text, place=refused[0].what, fix=refused[0].fix + more)
    _passed.add(key)


def inspect(pipeline: Pipeline, paths: Paths) -> list[Finding]:
    """Return what was found on each machine and between them, in the order of the checks."""
    address = cluster_file.read(paths.root).address
    if not address:
        return _inspect_here(pipeline, paths)
    if address.startswith(CLIENT):
        return [Finding("cluster", "warn", f"{address} is not inspected", "name it as HOST:6379")]
    try:
        return _inspect_cluster(pipeline, paths)
    except UserError as error:
        place = f"{error.place}: " if error.place else ""
        return [Finding("cluster", "fail", place + error.problem, error.fix)]


def _inspect_cluster(pipeline: Pipeline, paths: Paths) -> list[Finding]:
    """Inspect the machines of `cluster.yaml`. Raises UserError where this process cannot join them."""
    from evergreen.stages.engines.preflight.reach import check_token_file, list_machines

    cluster = cluster_file.read(paths.root)
    machines = list_machines(cluster.address)
    storage = cluster.storage or str(make_private(paths.home.resolve()))
    try:
        with _probe(storage) as (folder, secret):
            given = _given(pipeline, paths, storage, folder, secret)
            return [*check_token_file(), *_ask(machines, given, pipeline, paths, cluster.address)]
    except OSError as error:
        if isinstance(error, UserError):
            raise
        problem = f"{socket.gethostname()}: {storage} cannot be written ({error.strerror})"
        return [Finding("storage", "fail", problem, "mount it, make it writable, or name another one in cluster.yaml")]


def _inspect_here(pipeline: Pipeline, paths: Paths) -> list[Finding]:
    """Inspect this machine, without Ray."""
    from evergreen.stages.engines import ray_cluster, ray_node

    name = socket.gethostname()
    gpus = float(len(ray_cluster.gpus())) if pipeline.train.device == "cuda" else 0.0
    machine = Machine(name, ray_node.LOOPBACK, {"CPU": float(ray_node.count_cpus()), "GPU": gpus})
    with _probe(str(make_private(paths.home))) as (folder, secret):
        given = _given(pipeline, paths, str(paths.home), folder, secret)
        given = replace(given, workers=pipeline.train.worker_range[0], is_cluster=False)
        findings = [Finding(**one) for one in check_node(asdict(given))]
        train = pipeline.train
        return [
            *findings,
            *check_cluster(Seen(name, [machine], train.worker_range[0], train.device, folder, secret, [], {})),
        ]


def _given(pipeline: Pipeline, paths: Paths, storage: str, probe: str, secret: str) -> Given:
    """Return what machines are told; their own names are still missing."""
    from evergreen.stages.artifacts import folder_version
    from evergreen.stages.engines.shared_storage import share_folder

    is_ready = (paths.ready / "spec.json").is_file()
    rows = sum(path.stat().st_size for path in paths.ready.rglob("*") if path.is_file()) if is_ready else 0
    board = read_json(paths.select).get("leaderboard", []) if paths.select.is_file() else []
    state = COPIES * 4 * max((row.get("parameters") or 0 for row in board), default=0)
    needed = rows + CHECKPOINTS * state
    ready = str(paths.ready.resolve()) if is_ready else ""
    fits = is_address(storage) or shutil.disk_usage(storage).free > needed
    if is_ready and cluster_file.read(paths.root).storage and fits:
        ready = share_folder(paths.root, paths.ready, "ready", paths.name, folder_version(paths.ready))
    return Given(
        node=socket.gethostname(),
        driver=socket.gethostname(),
        versions=list_versions(),
        storage=storage,
        probe=probe,
        secret=secret,
        ready=ready,
        fingerprint=fingerprint(paths.ready) if is_ready else "",
        needed_bytes=needed,
        worker_bytes=PROCESS_BYTES + state + min(pipeline.train.memory_mb * 2**20, 4 * rows),
    )


@contextlib.contextmanager
def _probe(storage: str) -> Iterator[tuple[str, str]]:
    """Make a folder in storage with a file of random letters; yield both."""
    name, secret = f".preflight-{secrets.token_hex(8)}", secrets.token_hex(32)
    if is_address(storage):
        store = ObjectStore(join(storage, name))
        store.put_bytes("driver", secret.encode())
        try:
            yield store.address, secret
        finally:
            for left in store.list_files():
                store.remove(left)
        return
    folder = Path(storage, name)
    folder.mkdir(parents=True)
    try:
        with (folder / "driver").open("w", encoding="utf-8") as file:
            file.write(secret)
            os.fsync(file.fileno())
        yield str(folder), secret
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ask(machines: Sequence[Machine], given: Given, pipeline: Pipeline, paths: Paths, address: str) -> list[Finding]:
    """Run the checks of a machine as a task on each, then those between them."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from evergreen.stages.engines import ray_cluster

    ray_cluster.connect(paths.root)
    train, workers = pipeline.train, pipeline.train.worker_range[0]
    share = -(-workers // len(machines))
    findings: list[Finding] = []
    clocks: dict[str, tuple[float, float, float]] = {}
    written: list[str] = []
    on: dict[str, dict[str, Any]] = {
        one.name: {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(one.key, False)}
        for one in machines
    }
    tasks = {
        name: ray.remote(**how)(check_node).remote(asdict(replace(given, node=name, workers=share)))
        for name, how in on.items()
    }
    for name, task in tasks.items():
        try:
            found = [Finding(**one) for one in ray.get(task, timeout=ANSWER_SECONDS)]
            before = time.time()
            there = ray.get(ray.remote(**on[name])(tell_time).remote(), timeout=ANSWER_SECONDS)
            clocks[name] = before, there, time.time()
        except RayError as error:
            findings.append(_explain(name, on[name]["scheduling_strategy"].node_id, address, error))
            continue
        findings += found
        written += [name for one in found if one.what == "storage" and one.state == "ok"]
    gone = {one.text.partition(":")[0] for one in findings if one.what == "machine" and one.state == "warn"}
    machines = [machine for machine in machines if machine.name not in gone]
    seen = Seen(given.driver, machines, workers, train.device, given.probe, given.secret, written, clocks)
    return _merge([*findings, *check_cluster(seen)], len(machines))


def _explain(name: str, key: str, address: str, error: Exception) -> Finding:
    """Say why a machine did not answer: it died a moment ago, or cannot run what it was sent."""
    from evergreen.stages.engines.preflight.reach import list_machines

    if key not in {machine.key for machine in list_machines(address)}:
        return Finding("machine", "warn", f"{name}: it has died", "start its Ray again")
    last = str(error).strip().splitlines()[-1][:300]
    text = f"{name}: it does not run what it is sent ({last})"
    return Finding("machine", "fail", text, "install Evergreen's packages there; its Ray's logs tell more")


def _merge(findings: Sequence[Finding], n_machines: int) -> list[Finding]:
    """Put what is right on several machines into one line, with what was found first in front."""
    counts: dict[Finding, int] = defaultdict(int)
    for finding in findings:
        counts[finding] += 1
    order = {what: place for place, what in enumerate(dict.fromkeys(finding.what for finding in findings))}
    merged = [
        replace(one, text=f"{count} of {n_machines} machines: {one.text}") if one.state == "ok" and count > 1 else one
        for one, count in counts.items()
    ]
    return sorted(merged, key=lambda one: order[one.what])
