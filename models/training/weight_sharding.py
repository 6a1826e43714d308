"""Spread a network's weights over the processes that train it (FSDP2), each block gathered while it is computed."""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from evergreen.models.training.distributed import DistributedContext


def shard(module: nn.Module, context: DistributedContext) -> nn.Module:
    """Give each process its share of the module's weights, those of rank 0; return the module."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    context.broadcast_from_0(module.state_dict().values())
    mesh = torch.distributed.init_device_mesh(context.device.type, (context.world,))
    for block in list_blocks(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(module, "evaluate")
    return module


def recompute_activations(module: nn.Module) -> None:
    """Let blocks compute their activations again in the backward pass in the place of keeping them.

    A block with batch norms keeps them: its statistics would count each batch twice.
    """
    for block in list_blocks(module):
        if not any(isinstance(one, _BatchNorm) for one in block.modules()):
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def list_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the composite layers of the outermost lists and sequences, which are called as wholes."""
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            yield from (one for one in child if list(one.children()) and any(True for _ in one.parameters()))
        else:
            yield from list_blocks(child)


def is_spread(tensor: Tensor) -> bool:
    """Tell whether this process holds a share of the tensor alone: it is a DTensor, whose import takes its time."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """Return the share of a tensor that this process holds, in the same memory."""
    return tensor.to_local() if is_spread(tensor) else tensor  # type: ignore[attr-defined,no-any-return]


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor; where it is spread, all processes have to ask."""
    return tensor.full_tensor() if is_spread(tensor) else tensor  # type: ignore[attr-defined,no-any-return]


def like(tensor: Tensor, template: Tensor | None) -> Tensor:
    """Return the share of a whole tensor that this process holds of `template`, where the two have one shape."""
    if template is None or not is_spread(template) or is_spread(tensor) or tensor.shape != template.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    place: Any = template
    return distribute_tensor(tensor.to(place.device), place.device_mesh, place.placements, src_data_rank=None)
