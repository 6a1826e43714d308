"""Hold the answers of a model to rows: as JSON objects, one a row, or as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from evergreen.models.answers import Chosen, Named, to_objects

if TYPE_CHECKING:
    from evergreen.models.answers import Columns, Objects


class Answers:
    """Answers as the network gave them, a part a batch; objects and columns are made when they are asked for."""

    def __init__(self, parts: Sequence[Columns | Objects]) -> None:
        self.parts = parts

    @cached_property
    def objects(self) -> Objects:
        """One JSON object a row."""
        return [one for part in self.parts for one in (part if isinstance(part, list) else to_objects(part))]

    @cached_property
    def columns(self) -> dict[str, pa.Array]:
        """Return `prediction`, the bounds of an interval, one `p_<class>` for each probability."""
        parts: Sequence[Any] = self.parts
        if any(isinstance(part, list) for part in parts):
            return answer_columns(self.objects)
        columns: dict[str, pa.Array] = {}
        for name, first in parts[0].items():
            pieces = [part[name] for part in parts]
            if not isinstance(first, Named):
                columns[name] = _to_array(pieces)
                continue
            arrays = [_to_array([one.values[:, place] for one in pieces]) for place in range(len(first.names))]
            if name == "probabilities":
                columns |= {f"p_{one}": array for one, array in zip(first.names, arrays, strict=True)}
            else:
                columns[name] = pa.StructArray.from_arrays(arrays, first.names)
        return columns


def answer_columns(answers: Objects) -> dict[str, pa.Array]:
    """Turn objects into the columns of `Answers`."""
    columns: dict[str, pa.Array] = {}
    for name in answers[0]:
        values = [answer[name] for answer in answers]
        if name == "probabilities":
            columns |= {f"p_{one}": pa.array([value[one] for value in values], pa.float64()) for one in values[0]}
        else:
            columns[name] = pa.array(values)
    return columns


def _to_array(pieces: list[Any]) -> pa.Array:
    """Return what Arrow makes of the plain values of pieces, one after the other."""
    first = pieces[0]
    if isinstance(first, Chosen):
        return pa.array(first.values).take(_to_array([one.places for one in pieces]))
    if isinstance(first, list) or first.ndim > 1:
        return pa.array([one for piece in pieces for one in (piece if isinstance(piece, list) else piece.tolist())])
    arrays = [(one.double() if one.is_floating_point() else one).numpy() for one in pieces]
    return pa.concat_arrays([pa.array(one) for one in arrays])
