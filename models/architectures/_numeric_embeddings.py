"""Turn each number of a row into a vector before a network reads it (Gorishniy et al. 2022, "On Embeddings")."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from evergreen.models.base import Batch, Inputs
from evergreen.models.layers import FlattenInputs

MAX_WIDTH = 2048  # of all numbers together: of many columns each has a shorter vector
MAX_ROWS = 10_000  # that tell where bins end


class EmbeddedInputs(nn.Module):
    """Concatenate all inputs of a row into (B, width), numbers as vectors of `embedding`, the rest as FlattenInputs."""

    __call__: Callable[..., Tensor]

    def __init__(self, inputs: Inputs, embedding: "type[PiecewiseLinear | Periodic]", width: int) -> None:
        super().__init__()
        self.plain = [name for name, field in inputs.items() if field.kind == "number"]
        rest = {name: field for name, field in inputs.items() if name not in self.plain}
        columns = sum(inputs[name].shape[0] for name in self.plain)
        width = max(2, min(width, MAX_WIDTH // max(1, columns)))
        self.embedding = embedding(columns, width) if columns else None
        self.rest = FlattenInputs(rest) if rest else None
        self.width = columns * width + (self.rest.width if self.rest else 0)

    def forward(self, batch: Batch) -> Tensor:
        parts: list[Tensor] = []
        if self.embedding:
            parts.append(self.embedding(self.numbers(batch)).flatten(1))
        if self.rest:
            parts.append(self.rest(batch))
        return torch.cat(parts, 1)

    def numbers(self, batch: Batch) -> Tensor:
        """Return all numbers (B, N)."""
        return torch.cat([batch[name] for name in self.plain], 1)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Set where bins end by the first training rows of an epoch, whose order is random."""
        if not isinstance(self.embedding, PiecewiseLinear):
            return
        rows: list[Tensor] = []
        for batch in batches:
            rows.append(self.numbers(batch))
            if sum(map(len, rows)) >= MAX_ROWS:
                break
        self.embedding.fit(torch.cat(rows))


class PiecewiseLinear(nn.Module):
    """Map numbers (B, N) to (B, N, D): a line of each, and how far it has come through each bin of its column.

    Bins hold equally many training values. The bins' weights start at 0, so that the line is learned first. Until
    `fit` the bins lie where a normal distribution has them.
    """

    edges: Tensor  # (N, T + 1)

    def __init__(self, columns: int, width: int, bins: int = 16) -> None:
        super().__init__()
        shares = (torch.arange(bins + 1) + 0.5) / (bins + 1)
        self.register_buffer("edges", torch.special.ndtri(shares).repeat(columns, 1))
        self.line = nn.Parameter(_uniform(columns, width, scale=width**-0.5))
        self.base = nn.Parameter(_uniform(columns * width, scale=width**-0.5))  # one vector: it does not decay
        self.steps = nn.Parameter(torch.zeros(columns, bins, width))

    def fit(self, x_MN: Tensor) -> None:
        """Set the edges to quantiles."""
        shares = torch.linspace(0, 1, self.edges.shape[1], dtype=torch.float64, device=x_MN.device)
        self.edges.copy_(x_MN.double().quantile(shares, dim=0).T)

    def forward(self, x_BN: Tensor) -> Tensor:
        low_NT, size_NT = self.edges[:, :-1], self.edges.diff(dim=1)
        part_BNT = ((x_BN[:, :, None] - low_NT) / size_NT.clamp_min(1e-6)).clamp(0, 1) * (size_NT > 0)
        y: Tensor = (
            x_BN[:, :, None] * self.line
            + self.base.view_as(self.line)
            + torch.einsum("bnt,ntd->bnd", part_BNT, self.steps)
        )
        return y


class Periodic(nn.Module):
    """Map numbers (B, N) to (B, N, D): the number itself, and D - 1 mixtures of waves whose lengths are learned.

    Densely connected periodic embeddings with a bias, as RealMLP has them (Holzmüller et al. 2024).
    """

    def __init__(self, columns: int, width: int, waves: int = 16, frequency: float = 0.1) -> None:
        super().__init__()
        self.speed = nn.Parameter(frequency * torch.randn(columns * waves))  # vectors do not decay
        self.start = nn.Parameter(math.pi * _uniform(columns * waves))
        self.mix = nn.Parameter(_uniform(columns, waves, width - 1, scale=waves**-0.5))
        self.base = nn.Parameter(_uniform(columns * (width - 1), scale=waves**-0.5))

    def forward(self, x_BN: Tensor) -> Tensor:
        speed_NW, start_NW = (one.view(x_BN.shape[1], -1) for one in (self.speed, self.start))
        wave_BNW = (2 * math.pi * x_BN[:, :, None] * speed_NW + start_NW).cos()
        y_BND = torch.einsum("bnw,nwd->bnd", wave_BNW, self.mix)
        return torch.cat([x_BN[:, :, None], y_BND + self.base.view_as(y_BND[0])], 2)


def _uniform(*shape: int, scale: float = 1.0) -> Tensor:
    return torch.empty(shape).uniform_(-scale, scale)
