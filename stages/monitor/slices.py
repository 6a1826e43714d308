"""Cut rows into slices by the values of a column, and find rows far out of what a model was made from.

A column of few values has a slice a value; one of numbers has the lower, the middle and the upper third of the rows
that the model was made from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import PipelineError, suggest
from evergreen.data.arrow import decode_array, to_names, to_numpy

MAX_VALUES = 8  # of a column that is cut by its values: the most frequent ones
MAX_COLUMNS = 4  # that are cut where nobody names any
FAR = 0.5  # of the width of a column's range: so far outside of it a value is far
MIN_FAR = 0.05  # of the rows: so many more that are far out make an estimate a guess
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def find_slices(before: pa.Table, rows: pa.Table, names: Sequence[str]) -> Iterator[tuple[str, Mask]]:
    """Yield slices in words, each with its rows as (N,); `before` are rows that the model was made from.

    Without `names` the columns are those of few words. Raises PipelineError for a name that no column has.
    """
    for name in names or _few_valued(before):
        if name not in before.column_names:
            hint = suggest(name, before.column_names)
            raise PipelineError(f"monitor.slices names {name!r}, which no input is called", fix=hint or "name an input")
        known, values = (decode_array(table.column(name)) for table in (before, rows))
        if is_number(known.type) and is_number(values.type):
            yield from _thirds(name, to_numpy(known.cast(pa.float64())), to_numpy(values.cast(pa.float64())))
        elif not pa.types.is_nested(known.type) and not isinstance(known.type, pa.BaseExtensionType):
            words = to_names(values)
            for value in _most_frequent(to_names(known)):
                yield f"{name} = {value}", to_numpy(pc.fill_null(pc.equal(words, value), False))


def find_far_rows(before: pa.Table, rows: pa.Table) -> tuple[float, list[str]]:
    """Return the share of rows in which a number lies far out of the range before, and in which columns so many do."""
    far, columns = np.zeros(rows.num_rows, bool), list[str]()
    for name in rows.column_names:
        known, values = (decode_array(table.column(name)) for table in (before, rows))
        if not is_number(known.type) or not is_number(values.type) or known.null_count == len(known):
            continue
        bounds = pc.min_max(known.cast(pa.float64()))
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        margin = FAR * (high - low or abs(high) or 1.0)
        numbers = to_numpy(values.cast(pa.float64()))
        outside = (numbers < low - margin) | (numbers > high + margin)
        far |= outside
        if outside.mean() >= MIN_FAR:
            columns.append(name)
    return float(far.mean()) if len(far) else 0.0, columns


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a column of this type holds numbers."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _few_valued(before: pa.Table) -> list[str]:
    """Return the columns that are cut where nobody names any: those of few words."""
    plain = [name for name in before.column_names if pa.types.is_boolean(kind := before.schema.field(name).type)
             or pa.types.is_string(kind) or pa.types.is_dictionary(kind)]  # fmt: skip
    few = [name for name in plain if 2 <= len(pc.drop_null(before.column(name).unique())) <= MAX_VALUES]
    return few[:MAX_COLUMNS]


def _most_frequent(words: pa.Array | pa.ChunkedArray) -> list[str]:
    counts = pc.value_counts(pc.drop_null(words)).to_pylist()
    return [one["values"] for one in sorted(counts, key=lambda one: (-one["counts"], one["values"]))][:MAX_VALUES]


def _thirds(name: str, known: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> Iterator[tuple[str, Mask]]:
    low, high = np.nanquantile(known, [1 / 3, 2 / 3]) if np.isfinite(known).any() else (np.nan, np.nan)
    if low < high:
        yield f"{name} up to {low:.4g}", values <= low
        yield f"{name} from {low:.4g} to {high:.4g}", (values > low) & (values <= high)
        yield f"{name} above {high:.4g}", values > high
