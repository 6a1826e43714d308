"""The multilayer perceptron."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from evergreen.core.errors import ModelError, suggest
from evergreen.models.base import Architecture, Batch, Inputs
from evergreen.models.layers import FlattenInputs

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
NORMS: dict[str, type[nn.Module]] = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(Architecture):
    """Multilayer perceptron (Rumelhart et al. 1986) beside a linear path (wide and deep: Cheng et al. 2016).

    Layers of weighted sums and bends learn features that a linear model lacks. The inputs also go straight to the
    head, so that what is linear need not be learned twice.

    In: every kind, flattened, categories one-hot. Out: (B, F), F = 128 · size and the inputs' own numbers.
    Choose it for tables of some hundreds of rows and more, and as a quick first network for anything.
    At size=1: diabetes R² 0.430 in 1 s of one core, mean of 8 splits 60/20/20 (ridge 0.437); digits 0.979 in 1.4 s.
    """

    ACCEPTS = frozenset({"*"})
    FIRST_FOR = frozenset({"number", "category", "labels", "series", "text"})
    SEARCH_SPACE = {
        "learning_rate": (3e-4, 1e-2, "log"),
        "weight_decay": (1e-4, 1.0, "log"),
        "dropout": (0.0, 0.5),
        "size": [0.5, 1.0, 2.0],
    }

    DEFAULTS = {"learning_rate": 2e-3, "weight_decay": 0.5, "ema": 0.98, "keep": "last"}

    def __init__(
        self,
        inputs: Inputs,
        *,
        size: float = 1.0,
        depth: int = 2,
        activation: str = "gelu",
        norm: str = "none",
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        bend, level = _chosen("activation", activation, ACTIVATIONS), _chosen("norm", norm, NORMS)
        self.flat = FlattenInputs(inputs)
        width = max(4, round(128 * size))
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(inside, outside), level(outside), bend(), nn.Dropout(dropout))
                for inside, outside in pairwise([self.flat.width, *[width] * depth])
            )
        )
        self.out_features = width + self.flat.width

    def forward(self, batch: Batch) -> Tensor:
        x_BD = self.flat(batch)
        return torch.cat([x_BD, self.layers(x_BD)], 1)


def _chosen(option: str, name: str, known: dict[str, type[nn.Module]]) -> type[nn.Module]:
    if name not in known:
        raise ModelError(f"{name!r} is not a valid value of {option}", place="mlp", fix=suggest(name, known))
    return known[name]
