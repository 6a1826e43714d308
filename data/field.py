"""What the rest of data/ stands on: a field of a batch, and the error that tells a person of a mistake in the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TensorField:
    """One tensor of a batch.

    `shape` is that of one row: category inputs (columns,), numbers (columns + flags,), image (C, H, W), series (T, 1);
    targets: category () holding the class's index, number (), series (horizon,).
    `state` is JSON, fitted on the training split alone. `encoder` is the kind in data/kinds/ that made the tensor,
    where it is another than the one that a model takes it for: a moment becomes numbers.
    """

    kind: str
    columns: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    state: dict[str, Any]
    encoder: str = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Values each category column can take, the slot for unseen ones included; a class target: (classes,).

        A kind that counts otherwise says so in its state: of text it is (vocabulary,), of a set of labels (labels,).
        """
        if "sizes" in self.state:
            return tuple(self.state["sizes"])
        spare = 1 if self.shape else 0
        return tuple(len(values) + spare for values in self.state.get("values", ()))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "columns": list(self.columns),
            "shape": list(self.shape),
            "dtype": self.dtype,
            "state": self.state,
            **({"encoder": self.encoder} if self.encoder else {}),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TensorField:
        columns, shape = tuple(value["columns"]), tuple(value["shape"])
        return cls(value["kind"], columns, shape, value["dtype"], value["state"], value.get("encoder", ""))
