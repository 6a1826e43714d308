"""Layers that several architectures share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.base import Batch, FieldLike, Inputs


class Flat(nn.Module):
    """All inputs of a row as one vector: (B, width). Categories become one-hot, so that a linear map of it is what an
    embedding of each column, summed, would be; everything else is flattened."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.names = list(inputs)
        self.sizes = {name: field.sizes for name, field in inputs.items() if field.kind == "category"}
        plain = (torch.Size(field.shape).numel() for name, field in inputs.items() if name not in self.sizes)
        self.width = sum(plain) + sum(sum(sizes) for sizes in self.sizes.values())

    def forward(self, batch: Batch) -> Tensor:
        parts = [self._one_hot(name, batch) if name in self.sizes else batch[name].flatten(1) for name in self.names]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _one_hot(self, name: str, batch: Batch) -> Tensor:
        columns = batch[name].unbind(1)
        parts = [nn.functional.one_hot(column, size) for column, size in zip(columns, self.sizes[name], strict=True)]
        return torch.cat(parts, 1).to(torch.get_default_dtype())


def block(inside: int, outside: int, dropout: float) -> nn.Sequential:
    """One layer of a perceptron: (B, inside) → (B, outside)."""
    return nn.Sequential(nn.Linear(inside, outside), nn.GELU(), nn.Dropout(dropout))


def sequence(x: Tensor) -> Tensor:
    """A series (B, T, C) as it is; an image (B, C, H, W) row by row: (B, H, C · W)."""
    return x if x.ndim == 3 else x.transpose(1, 2).flatten(2)


def sequence_width(field: FieldLike) -> int:
    """The width of one step of `sequence` for a field: C of a series (T, C), C · W of an image (C, H, W)."""
    return field.shape[1] if len(field.shape) == 2 else field.shape[0] * field.shape[2]
