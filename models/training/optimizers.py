"""Build the optimizers of a parameter group: weight decay, Muon's matrices, and the rate of each layer."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from evergreen.models.network import Network
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.weight_sharding import is_spread


def build_optimizers(config: TrainingConfig, network: Network, parameters: Iterable[Parameter]) -> list[Optimizer]:
    """Build one optimizer, or two where Muon takes the hidden matrices; frozen weights are in none.

    Every group has a "scale", its fraction of the learning rate: 1 at the output and less with each layer towards the
    input. Vectors and scalars (norms, biases) do not decay.
    """
    scales = layerwise_lr_scales(network, config.layer_decay)
    weights = [one for one in parameters if one.requires_grad]
    matrices = muon_parameters(network) if config.optimizer == "muon" else set()
    parts = [[one for one in weights if one in matrices], [one for one in weights if one not in matrices]]
    kinds = ["muon", "adamw"] if config.optimizer == "muon" else ["", config.optimizer]
    return [
        _build_optimizer(kind, config, _parameter_groups(part, scales, config))
        for kind, part in zip(kinds, parts, strict=True)
        if part
    ]


def _parameter_groups(
    weights: list[Parameter], scales: dict[Parameter, float], config: TrainingConfig
) -> list[dict[str, Any]]:
    """Group parameters of equal decay and equal scale, in order."""
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for weight in weights:
        decay = config.weight_decay if weight.ndim > 1 else 0.0
        groups.setdefault((decay, scales.get(weight, 1.0)), []).append(weight)
    return [{"params": ones, "weight_decay": decay, "scale": scale} for (decay, scale), ones in groups.items()]


def _build_optimizer(kind: str, config: TrainingConfig, groups: list[dict[str, Any]]) -> Optimizer:
    rate, momentum = config.learning_rate, config.momentum
    if kind == "sgd":
        is_fused = not any(is_spread(one) for group in groups for one in group["params"])  # torch has none for these
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=is_fused)
    if kind == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, alpha=0.99, momentum=momentum)
    if kind == "muon":  # its steps are scaled so that AdamW's learning rate and decay suit it too
        return torch.optim.Muon(groups, lr=rate, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
    return adam(groups, lr=rate, fused=True)


def muon_parameters(network: Network) -> set[Parameter]:
    """Return the matrices that Muon is made for (Jordan et al. 2024): those of the architecture's layers.

    Embeddings and the task's head are not among them; convolutions are no matrices and stay with AdamW.
    """
    embedded = {id(one.weight) for one in network.modules() if isinstance(one, nn.Embedding | nn.EmbeddingBag)}
    return {one for one in network.architecture.parameters() if one.ndim == 2 and id(one) not in embedded}


def layerwise_lr_scales(network: Network, decay: float) -> dict[Parameter, float]:
    """Return each parameter's fraction of the learning rate: `decay` to the power of the layers above it.

    Discriminative fine-tuning (Howard and Ruder 2018; Clark et al. 2020). The task's head learns at the full rate.
    """
    stack = [*list_layers(network.architecture), network.task]
    top = len(stack) - 1
    scales = dict.fromkeys(network.architecture.parameters(), decay**top)  # tokens and places of no layer
    return scales | {one: decay ** (top - place) for place, layer in enumerate(stack) for one in layer.parameters()}


def list_layers(module: nn.Module) -> list[nn.Module]:
    """List the layers of a network from the input on: a list or a sequence holds several, others are one."""
    if not any(isinstance(one, nn.Sequential | nn.ModuleList | nn.ModuleDict) for one in module.modules()):
        return [module] if any(True for _ in module.parameters()) else []
    return [layer for child in module.children() for layer in list_layers(child)]
