"""Say how the processes of a run hold and compute the network; what is learned is the same but for rounding."""

import dataclasses
import os
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import nn

from evergreen.core.errors import ModelError
from evergreen.models.training.distributed import DistributedContext

MEMORY_SHARE = 0.5  # of a process's memory, that what learns may take where each process holds all of it
COPIES = 4  # of the weights: themselves, their gradients, and two means of the optimizer
COMPILED_PARAMETERS = 10**7  # from which on compiling is short against training


@dataclass(frozen=True)
class Strategy:
    """Say who holds which weights, and how a step is computed.

    ddp: each process holds all (DistributedDataParallel). fsdp: each holds a share of each block's weights, gradients
    and optimizer state (FSDP2, `fully_shard`).
    """

    parallel: Literal["auto", "ddp", "fsdp"] = "ddp"
    compile: bool | Literal["auto"] = False  # by torch.compile; auto: on a GPU, where the network is large
    activation_checkpointing: bool = False  # compute activations of blocks again in the backward pass
    profile: bool = False  # record ten steps of each process as a trace

    def decide(self, network: nn.Module, context: DistributedContext) -> tuple[Self, str]:
        """Return the strategy without "auto", alike on all ranks, and why auto took ddp or fsdp, "" on one rank.

        Raises ModelError where fsdp cannot share the weights.
        """
        n_weights = sum(one.numel() for one in network.parameters())
        compiles = self.compile
        if compiles == "auto":
            compiles = context.device.type == "cuda" and n_weights >= COMPILED_PARAMETERS
        parallel, why = self.parallel, ""
        single = next((name for name, one in network.named_parameters() if one.ndim == 0), "")
        if single and parallel == "fsdp":
            problem = f"fsdp cannot share a weight that is a single number ({single})"
            raise ModelError(problem, place="train", fix="use parallel: ddp")
        if parallel == "auto" and context.world > 1 and not single:
            needed = COPIES * sum(one.nbytes for one in network.parameters())
            memory = context.min_over_ranks(own_memory_bytes(context))
            parallel = "fsdp" if needed > MEMORY_SHARE * memory else "ddp"
            size = f"{needed / 2**20:,.0f} MiB of weights, gradients and optimizer state"
            limit = f"{MEMORY_SHARE:.0%} of the {memory / 2**20:,.0f} MiB of a worker"
            why = f"{parallel}: {size} are {'more' if parallel == 'fsdp' else 'no more'} than {limit}"
        decided: Literal["ddp", "fsdp"] = "fsdp" if parallel == "fsdp" and context.world > 1 else "ddp"
        return dataclasses.replace(self, parallel=decided, compile=compiles), why


def own_memory_bytes(context: DistributedContext) -> int:
    """Return the memory of this process: its GPU's, or its share of the machine's, however much of it is free."""
    if context.device.type == "cuda":
        return torch.cuda.get_device_properties(context.device).total_memory
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // int(os.environ.get("LOCAL_WORLD_SIZE", context.world))
