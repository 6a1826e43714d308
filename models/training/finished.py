"""Load what a finished run has reached from its newest checkpoint, without its rows or optimizers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from evergreen.models.network import Network
from evergreen.models.training import checkpoint
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.history import History
from evergreen.models.training.state import without_prefix


@dataclass(frozen=True)
class FinishedRun:
    """Hold a network, the weights of the epoch that is kept, that epoch with its record, and all records."""

    network: Network
    weights: dict[str, Tensor]
    best: tuple[int, dict[str, Any]] | None
    history: History


def load_finished(network: Network, config: TrainingConfig, folder: Path) -> FinishedRun | None:
    """Load the end of the run of `network` by `config` in `folder`; None where it has not ended, or is another's."""
    found = checkpoint.newest(folder)
    if found is None:
        return None
    tensors, state = checkpoint.read(*found)
    history, best = History(network.task.METRICS), state["position"]["best"]
    history[:] = state["position"]["history"]
    live = without_prefix("weights", tensors)
    own = network.state_dict()
    is_same = live.keys() == own.keys() and all(live[name].shape == tensor.shape for name, tensor in own.items())
    if not is_same or not history.is_over(config):
        return None
    weights = without_prefix("best", tensors) or {**live, **without_prefix("average", tensors)}
    return FinishedRun(network, weights, best and (best[0], best[1]), history)
