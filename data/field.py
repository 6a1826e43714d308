"""What the rest of data/ stands on: a field of a batch, and the error that tells a person of a mistake in the data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class DataError(ValueError):
    """A mistake in the data, never in the program: says what is wrong, where, and what to do about it."""

    def __init__(self, problem: str, *, place: str = "", fix: str = "") -> None:
        self.problem, self.place, self.fix = problem, place, fix
        text = f"{place}: {problem}" if place else problem
        super().__init__(f"{text}; {fix}" if fix else text)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as "did you mean 'age'? known: age, sex" for a word that is none of `known`."""
    known = list(known)
    close = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    hint = f"did you mean '{next(k for k in known if k.lower() == close[0])}'? " if close else ""
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return f"{hint}known: {shown}" if known else "none is known"


@dataclass(frozen=True)
class Field:
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
    def from_json(cls, value: dict[str, Any]) -> Field:
        columns, shape = tuple(value["columns"]), tuple(value["shape"])
        return cls(value["kind"], columns, shape, value["dtype"], value["state"], value.get("encoder", ""))
