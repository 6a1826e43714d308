"""Count the work of a network in nominal seconds: of operations, bytes and calls, never of the clock.

Plans that rest on it are the same on a quiet machine, on a busy one and on one of another make. A nominal second is
about one of a single core of a laptop: an operator costs what it computes, what it writes, and a fixed time to call it
(the roofline model, Williams et al. 2009, with an overhead). An optimizer reads and writes each weight a few times.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode  # private; tried with torch 2.13.0
from torch.utils.flop_counter import flop_registry

from evergreen.models.network import Network

FLOPS = 2e10  # floating-point operations a nominal second
BYTES = 4e9  # written in a nominal second
CALL = 8e-6  # nominal seconds that an operator takes by itself
BACKWARD = 2.0  # times the work forward
STEP = 5e-4  # nominal seconds of an update, whatever it updates
UPDATE_PASSES = 12  # over the bytes of all weights, by an optimizer and by clipping


@dataclass(frozen=True)
class Work:
    """Hold what one architecture costs on given rows, in nominal seconds."""

    step: float  # one update of the weights by one batch
    epoch: float  # all updates of an epoch, and the validation after it
    full: float  # training by its whole configuration
    answer: float  # one row, asked alone


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds = 0.0
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula:
            operations = formula(*args, **(kwargs or {}), out_val=result)
            self.operations += operations
            self.seconds += operations / FLOPS
        outputs = result if isinstance(result, tuple | list) else [result]
        written = sum(one.numel() * one.element_size() for one in outputs if isinstance(one, Tensor))
        self.seconds += CALL + written / BYTES
        return result


def forward_seconds(network: Network, rows: dict[str, Tensor]) -> float:
    """Return the nominal seconds in which the network answers these encoded rows."""
    return _count_forward(network, rows).seconds


def count_operations(network: Network, rows: dict[str, Tensor]) -> int:
    """Count the floating-point operations of matrix products and convolutions in answering these encoded rows."""
    return _count_forward(network, rows).operations


def _count_forward(network: Network, rows: dict[str, Tensor]) -> _Counter:
    counter, fused = _Counter(), torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator whose work nobody could count
    try:
        with torch.no_grad(), counter:
            network.predict_outputs(rows)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter


def count(network: Network, rows: dict[str, Tensor], *, steps: int, epochs: int, n_validation: int) -> Work:
    """Return the work of training a network by batches such as `rows`, `steps` an epoch."""
    batch = len(next(iter(rows.values())))
    forward = forward_seconds(network, rows)
    answer = forward_seconds(network, {name: column[:1] for name, column in rows.items()})
    weights = sum(one.numel() * one.element_size() for one in network.parameters() if one.requires_grad)
    step = STEP + forward * (1 + BACKWARD) + weights * UPDATE_PASSES / BYTES
    epoch = steps * step + forward * n_validation / batch
    return Work(step, epoch, epochs * epoch, answer)
