"""Describe one tensor of a batch."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class TensorField:
    """Describe one tensor of a batch: which kind made it from which columns, its shape and its fitted state.

    `shape` is that of one row: category inputs (columns,), numbers (columns + flags,), image (C, H, W), series (T,
    C); targets: category () holding the class's index, number (), series (horizon,). `state` is JSON, fitted on the
    training split alone. `encoder` is the kind that made the tensor, where models take it for another: a moment
    becomes numbers. A state's "further" describes tensors that are made of the same columns and called "KEY NAME": NAME
    → their "shape", "dtype" and state.
    """

    kind: str
    columns: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    state: dict[str, Any]
    encoder: str = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the number of values of each category column, with the slot for unseen ones; of a target (classes,).

        A kind that counts otherwise puts "sizes" into its state: text (vocabulary,), labels (labels,).
        """
        if "sizes" in self.state:
            return tuple(self.state["sizes"])
        spare = 1 if self.shape else 0
        return tuple(len(values) + spare for values in self.state.get("values", ()))

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one encoded row."""
        further = [(one["shape"], one["dtype"]) for one in self.state.get("further", {}).values()]
        return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in [(self.shape, self.dtype), *further])

    def to_json(self) -> dict[str, Any]:
        """Return the field as spec.json stores it."""
        value = {**vars(self), "columns": list(self.columns), "shape": list(self.shape)}
        if not self.encoder:
            del value["encoder"]
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return the field that `to_json` stored. Raises KeyError and TypeError for what it did not store."""
        columns, shape = tuple(value["columns"]), tuple(value["shape"])
        found = cls(value["kind"], columns, shape, value["dtype"], value["state"], value.get("encoder", ""))
        texts = (found.kind, found.dtype, found.encoder, *columns)
        if not all(isinstance(text, str) for text in texts) or not isinstance(found.state, dict):
            raise TypeError("a field is no field")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise TypeError(f"a shape is {list(shape)}")
        return found
