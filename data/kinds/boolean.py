"""Yes or no, in whichever words: true and false, yes and no, t and f, y and n, on and off, 1 and 0.

Encoded as a category of two values: slot 0 is for what is missing, 1 for no, 2 for yes. Where no training row lacked a
value, a missing one is taken as the commoner answer.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, decode_array, missing_words, to_names, to_numpy, to_strings
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds._json import check_unicode, format_value
from evergreen.data.kinds.classes import class_counts

PAIRS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"), ("off", "on"), ("0", "1"))
SURE = 0.95  # share of the values that must be words of one pair for text to be yes and no
WORDS = [word for pair in PAIRS for word in pair]


class Boolean(Kind):
    VERSION: ClassVar[int] = 2
    grouped: ClassVar[bool] = True
    ARROW_TYPE: ClassVar[pa.DataType] = pa.bool_()
    ENCODES_AS: ClassVar[str] = "category"
    ALLOWS_MISSING: ClassVar[bool] = True
    COMPARES_AS: ClassVar[str] = "category"

    def detect(self, column: pa.Array) -> float:
        """Accept text that holds both words of a pair and hardly anything else; numbers stay numbers."""
        column = decode_array(column)
        if pa.types.is_boolean(column.type):
            return 1.0
        if not pa.types.is_string(column.type):
            return 0.0
        words = _words(column).drop_null()
        known = words.filter(pc.is_in(words, pa.array(WORDS)))
        if len(known) < SURE * len(words):  # quick for columns of many values
            return 0.0
        counts = {item["values"]: item["counts"] for item in pc.value_counts(known).to_pylist()}
        pairs = [pair for pair in PAIRS[:-1] if all(word in counts for word in pair)]
        most = max((sum(counts[word] for word in pair) for pair in pairs), default=0)
        return 0.95 if most and most >= SURE * len(words) else 0.0

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        if pa.types.is_boolean(column.type):
            return column, {}
        try:
            words = _words(column)
        except DataError as error:
            return pa.nulls(len(column), pa.bool_()), dict.fromkeys(range(len(column)), error.problem)
        place = pc.index_in(words, pa.array(WORDS))
        strange = to_numpy(pc.and_(words.is_valid(), place.is_null()))
        yes = pc.equal(pc.bit_wise_and(place, 1), 1)
        return yes, dict.fromkeys(np.flatnonzero(strange).tolist(), "neither yes nor no")

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        if target:
            place, fix = f"column '{next(iter(columns))}'", "say `kind: category`"
            raise DataError("a target with two classes must be a category", place=place, fix=fix)
        missing = [column.null_count > 0 for column in columns.values()]
        commonest = [int(2 * column.true_count > len(column) - column.null_count) for column in columns.values()]
        state = {"values": [[False, True]] * len(columns), "missing": missing, "commonest": commonest}
        return TensorField("category", tuple(columns), (len(columns),), "int64", state, "boolean")

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        filled = [
            column.cast(pa.int64()).fill_null(class_counts.code_of_missing(field.state, index) - 1)
            for index, column in enumerate(columns)
        ]
        return np.stack([to_numpy(pc.add(codes, 1)) for codes in filled], axis=1)

    def find_unusual(
        self, field: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray
    ) -> Iterator[tuple[int, str, np.ndarray]]:
        return class_counts.find_unusual(field.state, columns, encoded)

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        return [[None if code == 0 else code == 2 for code in row] for row in np.asarray(values).tolist()]

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, bool):
            return value
        if (
            isinstance(value, str | int | float)
            and (word := _words(pa.array([check_unicode(str(value))]))[0].as_py()) in WORDS
        ):
            return WORDS.index(word) % 2 == 1
        raise DataError(f"is not true or false (got {format_value(value)})", fix="give true or false")

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        return {"type": "boolean", "example": True, "nullable": True}

    def measure(self, column: pa.Array) -> Counter[str]:
        return Counter(to_strings(column).drop_null().to_pylist())

    def hash_input(self, column: pa.Array) -> pa.Array:
        return column.cast(pa.string())  # as a category has it


def _words(column: pa.Array) -> pa.Array:
    words = pc.utf8_lower(to_names(column))
    return pc.if_else(pc.is_in(words, missing_words()), pa.scalar(None, pa.string()), words)
