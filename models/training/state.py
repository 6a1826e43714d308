"""Hold everything that a run needs to continue, as a checkpoint has it."""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from evergreen.models.network import Network
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.history import History
from evergreen.models.training.optimizers import build_optimizers
from evergreen.models.training.weight_average import WeightAverage
from evergreen.models.training.weight_sharding import like

POSITION = ("epoch", "batch", "step", "rows", "skipped", "skipped_rows", "lengths", "micro_batch", "best")
PREFIXES = ("weights", "best", "average")  # of a checkpoint's names of weights


class TrainingState:
    """Hold the weights, optimizers and position of one run of `network` by `config` on so many rows."""

    def __init__(self, network: Network, config: TrainingConfig, rows: int) -> None:
        self.epoch, self.batch, self.step = 0, 0, 0  # epochs done, batches done of the next, updates done
        self.rows = 0  # of this rank, so far in this epoch
        self.skipped, self.skipped_rows = 0, 0  # updates that were not made, in all; their rows in this epoch
        self.lengths: dict[str, float] = {}  # of each group's gradient: the running mean
        self.micro_batch = 0  # rows of a batch that are computed at once, since memory was short; 0 is all
        self.history = History(network.task.METRICS)
        self.best: tuple[int, dict[str, float]] | None = None  # the best epoch and its record
        self.best_weights: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = network.state_dict()  # live: it shares memory with the parameters
        device = next(iter(self.weights.values())).device
        self.loss = torch.zeros((), dtype=torch.float64, device=device)  # summed over `rows`
        self.run = _identity(config, self.weights, rows)
        self.groups = network.groups()
        decay = config.replace(weight_decay=config.weight_decay + config.prior / rows)
        self.optimizers = {name: build_optimizers(decay, network, weights) for name, weights in self.groups.items()}
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        chosen = {f"task.{name}" for name, _ in network.task.named_buffers()}  # by validation rows: no step moves them
        learned = {name: tensor for name, tensor in self.weights.items() if name not in chosen}
        self.average = WeightAverage(learned) if config.averages_weights else None

    def mark_initial(self) -> None:
        """Let the weights as they are now be those that the run begins with."""
        if self.average:
            self.average.reset()

    def averaged_weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights that are evaluated: their running mean where the configuration asks for one."""
        return clone_weights({**self.weights, **(self.average.mean if self.average else {})})

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of a checkpoint, live, by their names in it."""
        tensors = {"loss": self.loss, **_prefixed("weights", self.weights), **_prefixed("best", self.best_weights)}
        if self.average:
            tensors |= _prefixed("average", self.average.mean)
        for name, optimiser in self._named_optimisers():
            for index, values in optimiser.state_dict()["state"].items():
                tensors |= _prefixed(f"{name}/{index}", values)
        return tensors

    def facts(self) -> dict[str, Any]:
        """Return a copy of the rest of a checkpoint, which JSON can hold."""
        position = {name: getattr(self, name) for name in (*POSITION, "history")}
        return copy.deepcopy({"run": self.run, "position": position, "scaler": self.scaler.state_dict()})

    def template(self, place: str) -> Tensor | None:
        """Return the weight as which a checkpoint's tensor is spread over the processes, by its name there."""
        kind, _, name = place.partition("/")
        if kind in PREFIXES:
            return self.weights.get(name)
        for start, optimiser in self._named_optimisers():
            if place.startswith(f"{start}/"):
                weights: list[Tensor] = [one for group in optimiser.param_groups for one in group["params"]]
                return weights[int(place.removeprefix(f"{start}/").partition("/")[0])]
        return None

    def load(self, tensors: Mapping[str, Tensor], stored: Mapping[str, Any]) -> bool:
        """Load the state from a checkpoint; return False, and change nothing, if it is another run's."""
        if stored["run"] != self.run:
            return False
        tensors = {place: like(tensor, self.template(place)) for place, tensor in tensors.items()}
        position = stored["position"]
        for name in position.keys() & set(POSITION):  # an older checkpoint knows fewer
            setattr(self, name, position[name])
        self.history[:] = position["history"]
        self.best = (self.best[0], self.best[1]) if self.best else None
        self.best_weights = without_prefix("best", tensors, self.loss.device)
        self.loss.copy_(tensors["loss"])
        _fill(self.weights, without_prefix("weights", tensors))
        if self.average:
            _fill(self.average.mean, without_prefix("average", tensors))
        for name, optimiser in self._named_optimisers():
            values: dict[int, dict[str, Tensor]] = {}
            for place, tensor in without_prefix(name, tensors).items():
                index, _, inner = place.partition("/")
                values.setdefault(int(index), {})[inner] = tensor
            optimiser.load_state_dict({"state": values, "param_groups": optimiser.state_dict()["param_groups"]})
        self.scaler.load_state_dict(stored["scaler"])
        return True

    def _named_optimisers(self) -> list[tuple[str, Optimizer]]:
        return [
            (f"optimiser/{group}/{number}", optimiser)
            for group, ones in self.optimizers.items()
            for number, optimiser in enumerate(ones)
        ]


def _identity(config: TrainingConfig, weights: dict[str, Tensor], rows: int) -> str:
    """Return a hash that is equal for two runs that may share checkpoints."""
    values = {**dataclasses.asdict(config), "checkpoint_seconds": None}
    shapes = {name: list(tensor.shape) for name, tensor in weights.items()}
    return hashlib.sha256(json.dumps([values, shapes, rows], sort_keys=True).encode()).hexdigest()


def clone_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of the weights."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor], device: torch.device | None = None) -> dict[str, Tensor]:
    """Return the tensors below a prefix, by their names without it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor.to(device) for name, tensor in tensors.items() if name.startswith(start)}


def _fill(live: dict[str, Tensor], stored: dict[str, Tensor]) -> None:
    for name, tensor in live.items():
        tensor.copy_(stored[name])
