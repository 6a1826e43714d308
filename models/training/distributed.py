"""One of the processes that train a network together: where it computes, and what it hears from the others besides
gradients."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


class DistributedContext:
    """Process `number` of `world`, computing on `device`. Rank 0 decides, all others follow; one alone is rank 0.

    With `world` > 1 the caller has initialised torch's process group.
    """

    def __init__(self, number: int = 0, world: int = 1, device: str | torch.device = "cpu") -> None:
        self.number, self.world, self.device = number, world, torch.device(device)

    @property
    def first(self) -> bool:
        return self.number == 0

    def to_device(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """A batch where this rank computes."""
        return {name: torch.as_tensor(column).to(self.device, non_blocking=True) for name, column in batch.items()}

    def seed(self, *position: int) -> None:
        """Random numbers from here on are a function of `position`."""
        digest = hashlib.blake2b(",".join(map(str, position)).encode(), digest_size=7).digest()
        number = int.from_bytes(digest, "little")
        torch.default_generator.manual_seed(number)  # torch.manual_seed takes 100 µs: it notes a trace per device
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(number)

    def wrap_ddp(self, module: nn.Module) -> nn.Module:
        """The module with rank 0's weights, its gradients averaged over all ranks."""
        return DistributedDataParallel(module, find_unused_parameters=True) if self.world > 1 else module

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Each becomes the mean of what it is on all ranks."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, mean in zip(tensors, (flat / self.world).split([one.numel() for one in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def broadcast_from_0(self, tensors: Iterable[Tensor]) -> None:
        """Each becomes what it is on rank 0."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def broadcast_bool(self, mine: bool) -> bool:
        """Rank 0's answer to a yes-or-no question, on every rank."""
        return mine if self.world == 1 else bool(self._from_first(torch.tensor([float(mine)]))[0])

    def broadcast_metrics(self, mine: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
        """Rank 0's numbers under `names`, on every rank; the others give None."""
        numbers = torch.tensor([mine[name] for name in names] if mine else [0.0] * len(names), dtype=torch.float64)
        return dict(zip(names, (numbers if self.world == 1 else self._from_first(numbers)).tolist(), strict=True))

    def broadcast_bytes(self, mine: bytes | None) -> bytes | None:
        """Rank 0's bytes, on every rank."""
        if self.world == 1:
            return mine
        held = torch.frombuffer(bytearray(mine), dtype=torch.uint8) if mine else torch.empty(0, dtype=torch.uint8)
        length = int(self._from_first(torch.tensor([held.numel()])))
        if not length:
            return None
        whole = self._from_first(held if mine else held.new_empty(length))
        return ctypes.string_at(whole.data_ptr(), length)

    def _from_first(self, tensor: Tensor) -> Tensor:
        moved = tensor.to(self.device)
        distributed.broadcast(moved, 0)
        return moved.cpu()


def no_grad_sync(module: nn.Module) -> AbstractContextManager[Any]:
    """Gradients of a joined module's calls within stay on their rank: they are averaged with the next call's."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def batch_norm_buffers(module: nn.Module) -> list[Tensor]:
    """The running means and variances of norms by batches: each rank has seen its own share of the rows alone."""
    norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)]
    return [one for norm in norms for one in (norm.running_mean, norm.running_var) if one is not None]
