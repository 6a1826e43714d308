"""What ranks tell each other besides gradients: rank 0 decides, all others follow."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, distributed


def agree(mine: bool, world: int, device: torch.device) -> bool:
    """Rank 0's answer to a yes-or-no question, on every rank."""
    return mine if world == 1 else bool(_from_first(torch.tensor([float(mine)]), device)[0])


def shared(
    mine: Mapping[str, float] | None, names: Sequence[str], world: int, device: torch.device
) -> dict[str, float]:
    """Rank 0's numbers under `names`, on every rank; the others give None."""
    numbers = torch.tensor([mine[name] for name in names] if mine else [0.0] * len(names), dtype=torch.float64)
    return dict(zip(names, (numbers if world == 1 else _from_first(numbers, device)).tolist(), strict=True))


def block(mine: bytes | None, world: int, device: torch.device) -> bytes | None:
    """Rank 0's bytes, on every rank."""
    if world == 1:
        return mine
    held = torch.frombuffer(bytearray(mine), dtype=torch.uint8) if mine else torch.empty(0, dtype=torch.uint8)
    length = int(_from_first(torch.tensor([held.numel()]), device))
    if not length:
        return None
    whole = _from_first(held if mine else held.new_empty(length), device)
    return ctypes.string_at(whole.data_ptr(), length)


def _from_first(tensor: Tensor, device: torch.device) -> Tensor:
    moved = tensor.to(device)
    distributed.broadcast(moved, 0)
    return moved.cpu()
