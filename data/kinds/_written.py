"""Read texts of requests; measure, show and compare columns of them: what kinds of text have in common."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.core.marks import Mark, StyledText
from evergreen.data.arrow import to_numpy
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds._json import check_unicode, format_value
from evergreen.data.kinds.duplicates.minhash import find_similar_texts
from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate

SHOWN = 280  # characters of a text on a page
SORTS = (r"\p{Lu}", r"\p{Nd}", r"[\s\p{Z}]", r"[^\p{L}\p{N}]")  # capitals, digits, spaces, signs


class Written(Kind):
    """The base of the kinds whose checked columns hold text, or lists of words."""

    TELLS_ROWS_APART = True
    ARROW_TYPE = pa.string()
    FILLS_MISSING = True
    MEASURE = "words in a row"

    def find_unusual(
        self, field: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray
    ) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield texts that are missing or blank."""
        blank = is_blank(columns[0])
        if blank.any():
            yield 0, "missing and read as an empty text", blank

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, str):
            raise DataError(f"is {format_value(value)}", fix="give text")
        if not value.strip():
            raise DataError("is empty", fix="give text")
        return check_unicode(value)

    def measure(self, column: pa.Array) -> np.ndarray:
        """Return the words of each row that is not missing, (N,)."""
        texts = column.drop_null()
        listed = pa.types.is_list(texts.type)
        words = pc.list_value_length(texts) if listed else pc.count_substring_regex(texts, r"[^\s\p{Z}]+")
        return to_numpy(words).astype(np.float64)

    def show(self, field: TensorField, columns: Sequence[pa.Array]) -> Sequence[Mark]:
        """Return the beginning of each text."""
        texts = (" ".join(value) if isinstance(value, list) else value or "" for value in columns[0].to_pylist())
        return [StyledText([(text if len(text) <= SHOWN else text[:SHOWN] + "…", "")]) for text in texts]

    def find_near_duplicates(self, column: pa.Array, other: pa.Array) -> list[NearDuplicate] | None:
        return find_similar_texts(column, other)

    def row_features(self, column: pa.Array) -> np.ndarray:
        """Return (N, 5) how long each text is, and its fractions of capitals, digits, spaces and signs."""
        text = pc.binary_join(column, " ") if pa.types.is_list(column.type) else column
        text = text.fill_null("")
        length = to_numpy(pc.utf8_length(text))
        counts = [to_numpy(pc.count_substring_regex(text, sort)) for sort in SORTS]
        return np.column_stack([length, *(count / np.maximum(1, length) for count in counts)]).astype(np.float64)


def texts_of(column: pa.Array) -> list[Any]:
    """Return the rows of a checked column, an empty one where it is missing."""
    empty: Any = [] if pa.types.is_list(column.type) else ""
    return [empty if text is None else text for text in column.to_pylist()]


def is_blank(column: pa.Array) -> np.ndarray:
    """Return (N,) bool: the rows of a checked column that hold no text."""
    listed = pa.types.is_list(column.type)
    length = pc.list_value_length(column) if listed else pc.utf8_length(pc.utf8_trim_whitespace(column))
    return to_numpy(pc.equal(length, 0).fill_null(True))
