"""Convert Arrow columns to NumPy arrays and texts. A value that cannot be converted is reported, never guessed."""

import contextlib
import math
import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")  # "no number here" in files, in lower case
DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+(e[+-]?\d+)?", re.IGNORECASE)  # 3,14 or 1.234,5
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+")  # 1,234 or 1.234.567: what is meant, its neighbours tell
COMMA, POINT = ",", "."
FEW = 200  # values that show soon what the others need not be asked
READABLE = 0.95  # fraction of a text column's values that must read as numbers for the column to hold numbers
EXACT = 2.0**53  # below it floats hold whole numbers exactly
RowErrors = dict[int, str]  # row → what is wrong with its value


@cache
def missing_words() -> pa.Array:
    """Return MISSING as an array; made when it is asked for, since the first array loads pandas where that is there."""
    return pa.array(MISSING)


def combine_chunks(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array of its own type."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column


def decode_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array without dictionary encoding, text as `string`, half floats as float32."""
    column = combine_chunks(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_float16(column.type):  # Arrow computes little with it
        column = column.cast(pa.float32())
    return column


def to_float64(column: pa.Array, decimal: str = "") -> tuple[np.ndarray, RowErrors]:
    """Return (N,) float64, NaN where missing, and row → error for values that are not numbers.

    `decimal` is the separator before a fraction in text; "" detects it from these rows.
    """
    if pa.types.is_floating(column.type) and not column.null_count:
        return column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False), {}
    if pa.types.is_string(column.type):
        return _text_floats(column, decimal)
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    if numeric or pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), {}
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    return np.full(len(column), np.nan), {int(row): f"a {column.type} is no number" for row in np.flatnonzero(valid)}


def is_mostly_words(column: pa.Array) -> bool:
    """Tell whether less than half of a text column's values, of a few evenly spread ones, are numbers."""
    if not pa.types.is_string(column.type):
        return False
    few = column.drop_null()
    few = few.take(pa.array(evenly_spaced_indices(len(few), FEW)))
    return 2 * len(to_float64(few)[1]) > len(few)


def is_mostly_numbers(column: pa.Array) -> bool:
    """Tell whether a column holds numbers, or text of which at least READABLE reads as numbers."""
    column = decode_array(column)
    if pa.types.is_boolean(column.type) or is_mostly_words(column):
        return False
    values, errors = to_float64(column)
    n_held = len(errors) + int(np.count_nonzero(~np.isnan(values)))
    return bool(n_held) and len(errors) <= (1 - READABLE) * n_held


def _text_floats(column: pa.Array, decimal: str) -> tuple[np.ndarray, RowErrors]:
    if decimal == COMMA:
        column = pc.replace_substring(pc.replace_substring(column, POINT, ""), COMMA, POINT)
    with contextlib.suppress(pa.ArrowInvalid):  # mostly there are numbers alone, or nothing
        if not column.null_count:
            return column.cast(pa.float64()).to_numpy(zero_copy_only=False), {}
    with contextlib.suppress(pa.ArrowInvalid):
        texts = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        return texts.cast(pa.float64()).to_numpy(zero_copy_only=False), {}
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.is_in(pc.utf8_lower(text), missing_words()), pa.scalar(None, pa.string()), text)
    if not decimal and detect_decimal_separator(text) == COMMA:
        return _text_floats(text, COMMA)
    words = text.dictionary_encode()
    numbers = np.array([_number(word) for word in words.dictionary.to_pylist()] + [0.0])  # the last: of what is missing
    places = words.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)
    values = numbers[places]
    strange = np.flatnonzero(np.isnan(values))
    values[text.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return values, dict.fromkeys(strange.tolist(), "not a number")


def _number(word: str) -> float:
    """Return a number, NaN for other text. Python reads 1_000 as a number, but no file means that."""
    try:
        return float(word.replace("_", "x"))
    except ValueError:
        return math.nan


def detect_decimal_separator(column: pa.Array) -> str:
    """Return the separator that a text column writes before a fraction, "," or ".".

    It is a comma where most words with a comma read so, at least one of them cannot be thousands, and no word has a
    point where only a fraction can follow.
    """
    if not pc.any(pc.match_substring(column, COMMA)).as_py():
        return POINT
    text = pc.utf8_trim_whitespace(column)
    words = text.filter(pc.invert(pc.is_in(pc.utf8_lower(text), missing_words()))).to_pylist()
    marked = [word for word in words if word and "," in word]
    decimal = [word for word in marked if DECIMAL_COMMA.fullmatch(word)]
    pointed = any(word and "." in word and "," not in word and not THOUSANDS.fullmatch(word) for word in words)
    if pointed or 2 * len(decimal) <= len(marked) or all(THOUSANDS.fullmatch(word) for word in decimal):
        return POINT
    return COMMA


def to_sample_weights(column: pa.Array) -> tuple[np.ndarray, RowErrors]:
    """Return (N,) float64 weights of rows, and errors for values that are not numbers of 0 or above."""
    values, faults = to_float64(column)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    return values, dict.fromkeys(wrong.tolist(), "is no weight, a number of 0 or above") | faults


def to_strings(column: pa.Array) -> pa.Array:
    """Return a column as text, null where missing or blank: 3 and 3.0 are "3", true is "true", dates are ISO 8601.

    Raises DataError for types without a text: lists, structures, bytes.
    """
    if pa.types.is_string(column.type):
        text = pc.utf8_trim_whitespace(column)
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    if pa.types.is_floating(column.type):  # each value by itself, so that its neighbours do not count
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column).cast(pa.float64())
        is_whole = pc.and_(pc.equal(pc.trunc(column), column), pc.less(pc.abs(column), EXACT))
        return pc.if_else(is_whole, column.cast(pa.int64(), safe=False).cast(pa.string()), column.cast(pa.string()))
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise DataError(f"a column of type {column.type} has no text", fix="choose a column of plain values") from error


def joint_codes(column: pa.Array, other: pa.Array) -> np.ndarray:
    """Return (N + M,) codes from 1 on for the values of two columns, equal for equal values; 0 where missing."""
    both = pa.concat_arrays([to_strings(column), to_strings(other)])
    return both.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False) + 1


def evenly_spaced_indices(count: int, most: int) -> np.ndarray:
    """Return at most `most` of `count` row numbers, spread evenly."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def list_depth(kind: pa.DataType) -> int:
    """Return the number of axes of numbers in a row: 1 for a list, 2 for a list of lists or a matrix …, else 0."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return len(kind.shape)
    axes = 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, axes = kind.value_type, axes + 1
    return axes if pa.types.is_integer(kind) or pa.types.is_floating(kind) else 0


def is_ragged(kind: pa.DataType) -> bool:
    """Tell whether the rows of a column of this type are lists of numbers that may differ in shape."""
    fixed = isinstance(kind, pa.FixedShapeTensorType) or (pa.types.is_fixed_size_list(kind) and list_depth(kind) == 1)
    return list_depth(kind) > 0 and not fixed


def stack_lists(column: pa.Array) -> tuple[np.ndarray, RowErrors]:
    """Return (N, *shape) of a column of lists or tensors, and row → error.

    The most common shape wins. Rows that are missing, of another shape or not finite have an error.
    """
    if isinstance(column.type, pa.FixedShapeTensorType):
        return _stack_fixed(column, column.storage, tuple(column.type.shape))
    if pa.types.is_fixed_size_list(column.type) and list_depth(column.type) == 1:
        return _stack_fixed(column, column, (column.type.list_size,))
    rows: list[np.ndarray | None] = [_array(value) for value in column.to_pylist()]
    shapes = Counter(row.shape for row in rows if row is not None)
    shape = shapes.most_common(1)[0][0] if shapes else (0,)
    faults = {
        i: "missing" if not column[i].is_valid else f"its shape is not {shape}"
        for i, row in enumerate(rows)
        if row is None or row.shape != shape
    }
    good = [row if row is not None and i not in faults else np.zeros(shape) for i, row in enumerate(rows)]
    return _finite(np.stack(good) if good else np.zeros((0, *shape)), faults)


def _stack_fixed(column: pa.Array, storage: pa.Array, shape: tuple[int, ...]) -> tuple[np.ndarray, RowErrors]:
    if not column.null_count:
        return _finite(storage.flatten().to_numpy(zero_copy_only=False).reshape(len(column), *shape), {})
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    values = np.zeros((len(column), *shape))
    values[valid] = storage.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)
    return _finite(values, {int(row): "missing" for row in np.flatnonzero(~valid)})


def _array(value: Any) -> np.ndarray | None:
    try:
        return None if value is None else np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError):  # ragged, or not numbers
        return None


def _finite(values: np.ndarray, faults: RowErrors) -> tuple[np.ndarray, RowErrors]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        faults = {**faults, **{int(row): "holds NaN or Infinity" for row in np.flatnonzero(bad)}}
    return values, faults
