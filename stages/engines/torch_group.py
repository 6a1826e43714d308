"""Let the processes of one training meet in a file: torch's own meeting place is a port to which anybody may write."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

from evergreen.stages.engines import cluster_file, ray_node


def choose_torch_config(root: Path, backend: str) -> TorchConfig:
    """Return how the processes of a training meet: in Ray's folder on this machine, at a port of a real cluster."""
    if cluster_file.read(root).address:
        return TorchConfig(backend)
    return FileTorchConfig(backend, folder=(ray_node.load_up(root.resolve()) or {})["folder"])


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
