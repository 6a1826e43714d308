"""The endpoint that is soaked: three pipelines, two replicas, and all that happens to them."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from benchmarks.bulk import make_model
from benchmarks.serve import released_model
from evergreen.stages.deploy.config import DeployConfig
from tests.stages.writers import SONG, save_writer

REPLICAS = 2
VERSIONS = [f"v1.{number}.0" for number in range(4)]
FAULT = '''
import torch
from evergreen.models.architectures.cnn import CNN

CALLS = []  # those of the first batches are no request's


class Faulty(CNN):
    """A network that breaks once it is asked."""

    VERSION = 1

    def forward(self, batch):
        CALLS.append(1)
        if len(CALLS) > 20:
            raise ValueError("it breaks")
        return super().forward(batch)
'''


def deploy(root: Path, released: dict[str, Any], beside: dict[str, Any]) -> str:
    """Serve these versions, as a command does: in a process of its own."""
    from evergreen.stages.deploy import stage
    from evergreen.stages.engines import ray_cluster

    ray_cluster.connect(root)
    done = stage.deploy(root, released, DeployConfig(replicas=REPLICAS), beside=beside)
    if done["failures"]:
        raise SystemExit(f"not served: {done['failures']}")
    return str(done["url"])


class SoakProject:
    """Hold the endpoint and change it."""

    def __init__(self, root: Path) -> None:
        self.root, models = root, root / "soaked"
        self.table: pa.Table = make_model(models / "rows")
        save_writer(models / "song", "language_modelling", "decoder", ("text", SONG), ("text", SONG), "bpe", length=32)
        for version in (*VERSIONS, "faulty"):
            released_model(models / version)
        part = models / "faulty" / "parts" / "architectures" / "cnn.py"
        part.parent.mkdir(parents=True)
        part.write_text(FAULT)
        self.models, self.version, self.beside = models, VERSIONS[0], dict[str, Any]()
        self.operator = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    async def change(self, version: str, role: str = "", challenger: str = "", share: float = 0.3) -> str:
        """Serve a version of digits, and another one beside it in a role; return the address."""
        released = {name: {"version": "v1.0.0", "path": str(self.models / name)} for name in ("rows", "song")}
        released["digits"] = {"version": version, "path": str(self.models / version)}
        beside = {}
        if role:
            one = {"version": challenger, "path": str(self.models / challenger)}
            facts = {"version": challenger, "role": role, "share": share, "pins": {}, "versions": [one]}
            beside["digits"] = {**facts, "max_bytes": 2**30, "max_seconds": 5.0}
        self.version = version
        return await asyncio.get_running_loop().run_in_executor(self.operator, deploy, self.root, released, beside)

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The processes of this project by what they do."""
        from evergreen.stages.engines import ray_node

        found: dict[str, list[psutil.Process]] = {"replicas": [], "versions beside": [], "HAProxy": [], "others": []}
        leader = json.loads(ray_node.place(self.root).read_text())["pid"]
        for process in psutil.Process(leader).children(recursive=True):
            try:
                command = " ".join(process.cmdline())
            except psutil.Error:
                continue
            names = {"ServeReplica": "replicas", "version_server": "versions beside", "haproxy": "HAProxy"}
            found[next((kind for word, kind in names.items() if word in command), "others")].append(process)
        return found

    def memory_mb(self) -> dict[str, float]:
        """Megabytes that the processes of each kind hold at most: of one replica, of all others together."""
        sizes: dict[str, list[float]] = {}
        for kind, processes in self.processes().items():
            sizes[kind] = [0.0]
            for one in processes:
                try:
                    sizes[kind].append(one.memory_info().rss / 2**20)
                except psutil.Error:
                    continue
        return {kind: max(some) if kind == "replicas" else sum(some) for kind, some in sizes.items()}

    def kill_replica(self) -> None:
        """End the replica that has run longest by SIGKILL."""
        replicas = sorted(self.processes()["replicas"], key=lambda one: one.create_time())
        if len(replicas) == REPLICAS:  # the one that was killed before is there again
            os.kill(replicas[0].pid, signal.SIGKILL)

    async def wait_for_replicas(self) -> None:
        """Wait until all replicas run, a minute at most."""
        limit = time.monotonic() + 60
        while len(self.processes()["replicas"]) < REPLICAS and time.monotonic() < limit:
            await asyncio.sleep(0.5)

    def close(self) -> None:
        self.operator.shutdown()
