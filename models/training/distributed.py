"""Represent one of the processes that train together: its device, and what it exchanges besides gradients."""

import ctypes
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


class DistributedContext:
    """Represent process `rank` of `world`, computing on `device`; rank 0 decides, all others follow.

    With `world` > 1 the caller has initialized torch's process group.
    """

    def __init__(self, rank: int = 0, world: int = 1, device: str | torch.device = "cpu") -> None:
        self.rank, self.world, self.device = rank, world, torch.device(device)

    @property
    def is_first(self) -> bool:
        """True if this process decides."""
        return self.rank == 0

    def to_device(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the batch as tensors on this rank's device."""
        return {name: torch.as_tensor(column).to(self.device, non_blocking=True) for name, column in batch.items()}

    def seed(self, *position: int) -> None:
        """Make random numbers a function of `position` from here on."""
        digest = hashlib.blake2b(",".join(map(str, position)).encode(), digest_size=7).digest()
        seed = int.from_bytes(digest, "little")
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 100 µs: it notes a trace per device
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def wrap_ddp(self, module: nn.Module) -> nn.Module:
        """Return the module with rank 0's weights, whose gradients are averaged over all ranks."""
        return DistributedDataParallel(module, find_unused_parameters=True) if self.world > 1 else module

    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks, in place."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, mean in zip(tensors, (flat / self.world).split([one.numel() for one in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def broadcast_from_0(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by rank 0's, in place."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def broadcast_bool(self, mine: bool) -> bool:
        """Return rank 0's value on every rank."""
        return mine if self.world == 1 else bool(self._broadcast(torch.tensor([float(mine)]))[0])

    def min_over_ranks(self, mine: int) -> int:
        """Return the least of all ranks' values."""
        least = torch.tensor([mine], device=self.device)
        if self.world > 1:
            distributed.all_reduce(least, distributed.ReduceOp.MIN)
        return int(least)

    def broadcast_metrics(self, mine: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
        """Return rank 0's metrics under `names` on every rank; the other ranks pass None."""
        numbers = torch.tensor([mine[name] for name in names] if mine else [0.0] * len(names), dtype=torch.float64)
        return dict(zip(names, (numbers if self.world == 1 else self._broadcast(numbers)).tolist(), strict=True))

    def broadcast_bytes(self, mine: bytes | None) -> bytes | None:
        """Return rank 0's bytes on every rank."""
        if self.world == 1:
            return mine
        payload = torch.frombuffer(bytearray(mine), dtype=torch.uint8) if mine else torch.empty(0, dtype=torch.uint8)
        length = int(self._broadcast(torch.tensor([payload.numel()])))
        if not length:
            return None
        received = self._broadcast(payload if mine else payload.new_empty(length))
        return ctypes.string_at(received.data_ptr(), length)

    def _broadcast(self, tensor: Tensor) -> Tensor:
        moved = tensor.to(self.device)
        distributed.broadcast(moved, 0)
        return moved.cpu()


def no_grad_sync(module: nn.Module) -> AbstractContextManager[Any]:
    """Keep gradients of a wrapped module on their rank within the block; they are averaged with the next call's."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def batch_norm_buffers(module: nn.Module) -> list[Tensor]:
    """Return the running means and variances of batch norms; each rank's come from its own rows alone."""
    norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)]
    return [one for norm in norms for one in (norm.running_mean, norm.running_var) if one is not None]
