"""Convert Arrow columns to NumPy arrays and texts. A value that cannot be converted is reported, never guessed."""

import contextlib
import math
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data import number_format

MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?")  # "no number here" in files, in lower case
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


def to_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return the values (N,) of a column as NumPy has them, copied where Arrow's own memory does not serve."""
    return np.asarray(column.to_numpy(zero_copy_only=False))


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


def to_float64(column: pa.Array, format: str = "") -> tuple[np.ndarray, RowErrors]:
    """Return (N,) float64, NaN where missing, and row → error for values that are not numbers.

    `format` is how text writes them (number_format.py); "" detects it from these rows.
    """
    if pa.types.is_floating(column.type) and not column.null_count:
        return to_numpy(column).astype(np.float64, copy=False), {}
    if pa.types.is_string(column.type):
        return _text_floats(column, format)
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    if numeric or pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        return to_numpy(column.cast(pa.float64(), safe=False)), {}
    valid = to_numpy(column.is_valid())
    return np.full(len(column), np.nan), {int(row): f"a {column.type} is no number" for row in np.flatnonzero(valid)}


def guess_floats(column: pa.Array) -> tuple[np.ndarray, RowErrors]:
    """Return what `to_float64` does, in the likeliest format where two fit."""
    return to_float64(column, number_formats(column)[0])


def number_formats(column: pa.Array, decimal: str = "") -> list[str]:
    """Return the formats that a raw column's numbers may have, the likeliest first; see number_format.py."""
    is_plain = not pa.types.is_string(column.type) or not _text_floats(column, number_format.PLAIN)[1]
    if is_plain and decimal != ",":
        return [number_format.PLAIN]
    return number_format.matching_formats(known_texts(column), decimal)


def holds_codes(column: pa.Array) -> bool:
    """Tell whether a raw column holds codes of digits, some of which begin with a zero that no number would have."""
    return pa.types.is_string(column.type) and number_format.holds_codes(known_texts(column).drop_null())


def number_obstacle(column: pa.Array) -> str:
    """Return what keeps texts that look like numbers from being read as such; "" of other columns."""
    return number_format.describe_obstacle(known_texts(column).drop_null()) if pa.types.is_string(column.type) else ""


def is_mostly_words(column: pa.Array) -> bool:
    """Tell whether less than half of a text column's values, of a few evenly spread ones, are numbers."""
    if not pa.types.is_string(column.type):
        return False
    few = column.drop_null()
    few = few.take(pa.array(evenly_spaced_indices(len(few), FEW)))
    return 2 * len(guess_floats(few)[1]) > len(few)


def is_mostly_numbers(column: pa.Array) -> bool:
    """Tell whether a column holds numbers, or text of which at least READABLE reads as numbers."""
    column = decode_array(column)
    if pa.types.is_boolean(column.type) or is_mostly_words(column):
        return False
    values, errors = guess_floats(column)
    n_held = len(errors) + int(np.count_nonzero(~np.isnan(values)))
    return bool(n_held) and len(errors) <= (1 - READABLE) * n_held


def known_texts(column: pa.Array) -> pa.Array:
    """Return trimmed texts, null where they say that nothing is known."""
    text = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.is_in(pc.utf8_lower(text), missing_words()), pa.scalar(None, pa.string()), text)


def _text_floats(column: pa.Array, format: str) -> tuple[np.ndarray, RowErrors]:
    written = f" written as {format}" if format else ""
    if format in ("", number_format.PLAIN):
        with contextlib.suppress(pa.ArrowInvalid):  # mostly there are numbers alone, or nothing
            texts = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
            return to_numpy((texts if texts.null_count else column).cast(pa.float64())), {}
    text = known_texts(column)
    if not format:
        formats = number_format.matching_formats(text)
        format = formats[0] if len(formats) == 1 else number_format.PLAIN
    values = _plain_floats(text) if format == number_format.PLAIN else number_format.parse_numbers(text, format)
    strange = np.flatnonzero(np.isnan(values) & to_numpy(text.is_valid()))
    has_digit = pc.match_substring_regex(text.take(pa.array(strange)), r"\d").to_pylist()
    return values, {
        row: "not a number" + written * digit for row, digit in zip(strange.tolist(), has_digit, strict=True)
    }


def _plain_floats(text: pa.Array) -> np.ndarray:
    words = text.dictionary_encode()
    numbers = np.array([_number(word) for word in words.dictionary.to_pylist()] + [math.nan])
    return np.asarray(numbers[to_numpy(words.indices.fill_null(len(numbers) - 1))])


def _number(word: str) -> float:
    """Return a number, NaN for other text. Python reads 1_000 as a number, but no file means that."""
    try:
        return float(word.replace("_", "x").replace("−", "-"))
    except ValueError:
        return math.nan


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


def to_names(column: pa.Array) -> pa.Array:
    """Return what `to_strings` does, and texts of whole numbers with zeros behind the point, 3.0, as such: "3"."""
    text = to_strings(column)
    if not pc.any(pc.match_substring(text, ".0")).as_py():
        return text
    return pc.replace_substring_regex(text, r"^-?(0)\.0+$|^(-?[1-9]\d*)\.0+$", r"\1\2")


def joint_codes(column: pa.Array, other: pa.Array) -> np.ndarray:
    """Return (N + M,) codes from 1 on for the values of two columns, equal for equal values; 0 where missing."""
    both = pa.concat_arrays([to_strings(column), to_strings(other)])
    return np.asarray(to_numpy(both.dictionary_encode().indices.fill_null(-1)) + 1)


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
        return _finite(to_numpy(storage.flatten()).reshape(len(column), *shape), {})
    valid = to_numpy(column.is_valid())
    values = np.zeros((len(column), *shape))
    values[valid] = to_numpy(storage.drop_null().flatten()).reshape(-1, *shape)
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
