"""Tags: a name for each word of a text, a target alone. Encoded (L,): the tag's index, −100 behind the last word.

A tag that no training row has is encoded −100, too: it can neither be learned nor judged.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, decode_array
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds.text import LONGEST

PADDING = -100  # what torch's cross-entropy passes over


class Tags(Kind):
    ALIGNED = True
    OPTIONS: ClassVar[dict[str, Any]] = {"length": 0}  # 0: of the longest training row

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        try:
            column = column.cast(pa.list_(pa.string()))
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            return pa.nulls(len(column), pa.list_(pa.string())), dict.fromkeys(range(len(column)), "no list of tags")
        rows = enumerate(column.to_pylist())
        return column, {
            number: "holds no tag, or an empty one" for number, row in rows if row is not None and not all(row or [""])
        }

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        if not target:
            fix = "leave the column out (`drop_columns`)"
            raise DataError("tags can only be a target", place=f"column '{name}'", fix=fix)
        rows = column.drop_null().to_pylist()
        values = sorted({tag for row in rows for tag in row})
        if len(values) < 2:
            raise DataError(f"the training rows hold only one tag: {values}", place=f"column '{name}'", fix="give more")
        length = options.get("length") or min(LONGEST, max(map(len, rows)))
        state = {"values": [values], "sizes": [len(values)], "length": length}
        return TensorField("tags", (name,), (length,), "int64", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        codes = {tag: number for number, tag in enumerate(field.state["values"][0])}
        encoded = np.full((len(columns[0]), *field.shape), PADDING, np.int64)
        for number, row in enumerate(columns[0].to_pylist()):
            tags = [codes.get(tag, PADDING) for tag in row[: field.shape[0]]]
            encoded[number, : len(tags)] = tags
        return encoded

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        names = field.state["values"][0]
        return [[names[code] for code in row if code != PADDING] for row in np.asarray(values).tolist()]

    def measure(self, column: pa.Array) -> Counter[str]:
        return Counter(str(word) for row in column.drop_null().to_pylist() for word in row)

    def check_against_inputs(self, target: pa.Array, inputs: Mapping[str, tuple[str, pa.Array]]) -> list[RowErrors]:
        """Return errors of rows whose numbers of tags and words differ."""
        return [unequal_lengths(target, words) for kind, words in inputs.values() if kind == "text"]

    def hash_input(self, column: pa.Array) -> list[bytes]:
        return [b"" if row is None else b"=" + json.dumps(row).encode() for row in column.to_pylist()]


def unequal_lengths(tags: pa.Array, words: pa.Array) -> RowErrors:
    """Return errors of rows that have not as many tags as words; text that is not a list of words is not counted."""
    if not pa.types.is_list(words.type):
        return {}
    pairs = enumerate(zip(tags.to_pylist(), words.to_pylist(), strict=True))
    return {
        row: f"{len(mine)} tags for {len(theirs)} words"
        for row, (mine, theirs) in pairs
        if mine and theirs and len(mine) != len(theirs)
    }
