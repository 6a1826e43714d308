"""Let the processes of one training meet: on one machine in a file, on a cluster through the network that Ray uses.

Torch's own meeting place is a port to which anybody may write; and it takes the interface of the machine's name, which
is loopback where /etc/hosts says 127.0.1.1, as Debian's does.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

from evergreen.stages.engines import cluster_file, ray_node

TIMEOUT_SECONDS = 1800  # of an operation between all processes, torch's own
IDLE_HELPERS = {"DatasetsCallback", "PlacementGroupCleanerCallback"}  # no Dataset of Ray's; groups end with the command
WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"  # of machines that a cloud takes back: this one nobody does


def choose_torch_config(root: Path, backend: str, timeout_s: int = TIMEOUT_SECONDS) -> TorchConfig:
    """Return how the processes of a training meet: in Ray's folder on this machine, at a port of a real cluster."""
    if cluster_file.read(root).address:
        return ClusterTorchConfig(backend, timeout_s=timeout_s)
    os.environ.setdefault(WATCHER, "0")
    folder = (ray_node.load_up(root.resolve()) or {})["folder"]
    return FileTorchConfig(backend, timeout_s=timeout_s, folder=folder)


class LeanTorchTrainer(TorchTrainer):
    """Train without those helpers of Ray Train that would idle: each is a process and starts as long as a worker."""

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if type(one).__name__ not in IDLE_HELPERS]

    def _register_sigint_handler(self, controller: Any) -> None:
        """Leave Ctrl-C to the command: Ray's handler swallows it and stays on after the run."""


@dataclass
class ClusterTorchConfig(TorchConfig):
    """Configure torch's process group on a cluster: each process talks through its machine's address in Ray."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """Return what sets up the process group."""
        return _ClusterBackend


class _ClusterBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(name_interface)
        super().on_start(worker_group, backend_config)


def name_interface() -> str:
    """Tell gloo and NCCL the interface of this machine's address in Ray, unless the environment does; return it."""
    own = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if own in {each.address for each in addresses}:
            for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
                os.environ.setdefault(variable, name)
    return os.environ.get("GLOO_SOCKET_IFNAME", "")


@dataclass
class FileTorchConfig(TorchConfig):
    """Configure torch's process group on one machine; `folder` is its owner's alone."""

    folder: str = ""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """Return what sets up the process group."""
        return _FileBackend


class _FileBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: FileTorchConfig) -> None:
        worker_group.execute(_set_torch_distributed_env_vars)
        group = {"backend": backend_config.backend, "timeout_s": backend_config.timeout_s}
        group |= {"world_size": len(worker_group), "init_method": f"file://{backend_config.folder}/{uuid.uuid4().hex}"}
        joins = (
            worker_group.execute_single_async(rank, _setup_torch_process_group, world_rank=rank, **group)
            for rank in range(len(worker_group))
        )
        ray.get(list(joins))
