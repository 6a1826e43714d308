"""The deep belief network."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from evergreen.core.errors import ModelError
from evergreen.models.architectures.rbm import Boltzmann
from evergreen.models.base import Architecture, Batch, Inputs
from evergreen.models.layers import FLATTENABLE_KINDS, FlattenInputs
from evergreen.models.sampling import MinMaxScaler


class DBN(Architecture):
    """Deep belief network (Hinton et al. 2006).

    Restricted Boltzmann machines are learned one on the other, each from what the one below makes of the rows, without
    labels; then the stack is a perceptron of sigmoid units that begins where it knows the data, and is fine-tuned.

    In: every kind but a seed, flattened and brought to 0…1. Out: (B, F), F = 100 · size.
    Choose it where most rows have no labels, and to see why training from scratch had to be helped in 2006: with
    today's optimisers a perceptron of its shape is as good.
    At size=1: digits 0.972 in 8 s of one core with 30 greedy epochs, 0.967 with none (validation rows of one split).
    """

    ACCEPTS = FLATTENABLE_KINDS
    SEARCH_SPACE = {"learning_rate": (5e-4, 1e-2, "log"), "dropout": (0.0, 0.5), "size": [0.5, 1.0, 2.0]}
    DEFAULTS = {"learning_rate": 3e-3, "weight_decay": 0.05, "ema": 0.98, "keep": "last"}

    def __init__(
        self, inputs: Inputs, *, size: float = 1.0, greedy: int = 10, greedy_rate: float = 0.2, dropout: float = 0.0
    ) -> None:
        """Build the stack.

        `greedy`: epochs for each layer before fine-tuning, at the learning rate `greedy_rate`.
        """
        super().__init__()
        if greedy < 0 or not greedy_rate > 0:
            raise ModelError("greedy and greedy_rate cannot be negative", place="dbn", fix="use 10 and 0.1")
        self.flat, self.span = FlattenInputs(inputs), MinMaxScaler()
        widths = [self.flat.width, max(8, round(200 * size)), max(4, round(100 * size))]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.greedy, self.greedy_rate = greedy, greedy_rate
        self.dropout, self.out_features = nn.Dropout(dropout), widths[-1]

    def forward(self, batch: Batch) -> Tensor:
        x_BD: Tensor = self.span.transform(self.flat(batch))
        for layer in self._stack():
            x_BD = self.dropout(layer(x_BD).sigmoid())
        return x_BD

    def init_from_data(self, batches: Iterable[Batch]) -> None:
        """Train layer by layer, by contrastive divergence of one step; the layers below are not sampled."""
        self.span.fit(self.flat(batch) for batch in batches)
        for number, layer in enumerate(self._stack()):
            machine = Boltzmann(layer.in_features, layer.out_features).to(layer.weight.device)
            machine.start(torch.cat([self._below(batch, number) for batch in batches]).mean(0))
            optimiser = torch.optim.SGD(machine.parameters(), lr=self.greedy_rate, momentum=0.5)
            for _ in range(self.greedy):
                for batch in batches:
                    v_BD = self._below(batch, number)
                    optimiser.zero_grad()
                    machine.contrastive_divergence(v_BD, machine.gibbs(v_BD, 1)).backward()
                    optimiser.step()
            with torch.no_grad():
                layer.weight.copy_(machine.weight.T)
                layer.bias.copy_(machine.hidden)

    @torch.no_grad()
    def _below(self, batch: Batch, number: int) -> Tensor:
        """Return what layer `number` sees."""
        x_BD: Tensor = self.span.transform(self.flat(batch))
        for layer in self._stack()[:number]:
            x_BD = layer(x_BD).sigmoid()
        return x_BD

    def _stack(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]
