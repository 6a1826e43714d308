"""Any number of labels a row: lists of words. As a target: the labels to be found.

A column of text is split at | and ; and commas, for files that hold no lists. A label that no training row has is
passed over: nothing could be learned of it. An input that is missing has no label.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, decode_array, to_numpy
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds._json import format_value

MANY = 1000  # distinct labels above which lists of words are text
BETWEEN = re.compile(r"[|;,]")
WORDS = pa.list_(pa.string())


class Labels(Kind):
    VERSION = 2  # rows without an input of labels are kept
    ALLOWS_MISSING = True
    MISSING_BECOMES = "taken as no label"
    TASK = "classification"
    ARROW_TYPE = WORDS

    def detect(self, column: pa.Array) -> float:
        column = decode_array(column)
        if not _lists(column.type) or not pa.types.is_string(column.type.value_type):
            return 0.0
        rows = [row for row in column.to_pylist() if row]
        distinct = {word for row in rows for word in row}
        once = all(len(set(row)) == len(row) for row in rows)
        is_set = once or pc.any(pc.equal(pc.list_value_length(column), 0)).as_py()  # no text is without a word
        return 0.8 if is_set and 0 < len(distinct) <= min(MANY, max(10, len(rows) // 2)) else 0.0

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        if pa.types.is_string(column.type) or pa.types.is_null(column.type):
            rows = [None if text is None else BETWEEN.split(text) for text in column.to_pylist()]
        elif _lists(column.type) and (
            pa.types.is_string(column.type.value_type) or pa.types.is_integer(column.type.value_type)
        ):
            rows = column.to_pylist()
        else:
            return pa.nulls(len(column), WORDS), dict.fromkeys(range(len(column)), "no list of labels")
        return pa.array([_set(row) for row in rows], WORDS), {}

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        """Fit the labels; the state also counts training rows with each label, from which balanced weights are made."""
        ((name, column),) = columns.items()
        counts = Counter(word for row in column.to_pylist() for word in row or ())
        if not counts:
            raise DataError("no training row has a label", place=f"column '{name}'", fix="give rows that have labels")
        values = sorted(counts)
        state: dict[str, Any] = {"values": [values], "counts": [[counts[value] for value in values]]}
        state |= {"sizes": [len(values)], "rows": len(column)}
        state |= {} if target else {"missing": [column.null_count > 0]}
        return TensorField("labels", (name,), (len(values),), "float32", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        places = {value: place for place, value in enumerate(field.state["values"][0])}
        encoded = np.zeros((len(columns[0]), len(places)), np.float32)
        for number, row in enumerate(columns[0].to_pylist()):
            encoded[number, [places[word] for word in row or () if word in places]] = 1
        return encoded

    def find_unusual(
        self, field: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray
    ) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield rows with labels that no training row had, and missing ones where no training row lacked them."""
        if columns[0].null_count and not field.state.get("missing", [False])[0]:
            yield 0, "missing and read as no label", to_numpy(columns[0].is_null())
        known = set(field.state["values"][0])
        unseen = np.array([not known.issuperset(row or ()) for row in columns[0].to_pylist()], bool)
        if unseen.any():
            yield 0, "read without labels never seen", unseen

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        names = field.state["values"][0]
        return [[names[place] for place in np.flatnonzero(row > 0.5)] for row in values]

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            fix = "give a list of labels, empty where there are none"
            raise DataError(f"is not a list (got {format_value(value)})", fix=fix)
        for word in value:
            if not isinstance(word, str) or re.search(r"[\ud800-\udfff]", word):  # JSON can escape half a character
                fix = "give labels as texts"
                raise DataError(f"holds a label that is not text (got {format_value(word)})", fix=fix)
        return _set(value)

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        names = field.state["values"][0]
        shown = "any of " + ", ".join(names[:20]) + "; others are passed over"
        return {"type": "array", "items": {"type": "string"}, "example": names[:1], "description": shown}

    def measure(self, column: pa.Array) -> Counter[str]:
        return Counter(str(word) for row in column.drop_null().to_pylist() for word in row)

    def row_features(self, column: pa.Array) -> np.ndarray:
        """Return how many labels each row has."""
        return np.array([[len(row or ())] for row in column.to_pylist()], np.float64)

    def hash_input(self, column: pa.Array) -> list[bytes]:
        return [
            b"" if row is None else b"".join(b"=" + word.encode() + b"\0" for word in row) or b"="
            for row in self.validate(column)[0].to_pylist()
        ]


def _lists(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _set(row: list[Any] | None) -> list[str] | None:
    """Return each label once, in order."""
    return None if row is None else sorted({str(word).strip() for word in row if word is not None} - {""})
