"""The rows of a raw table that a pipeline is about: `filter: {country: [DE, FR]}`."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest
from evergreen.data.arrow import decode_array, to_names


def filter_rows(raw: pa.Table, wanted: Mapping[str, list[Any]]) -> pa.Table:
    """Return the rows in which each named column holds one of its values; `wanted` is column → values."""
    for name, values in wanted.items():
        if name not in raw.column_names:
            place = f"preprocess.filter.{name}"
            raise DataError(f"there is no column '{name}'", place=place, fix=suggest(name, raw.column_names))
        words = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        raw = raw.filter(pc.is_in(to_names(decode_array(raw.column(name))), to_names(pa.array(words, pa.string()))))
    return raw


def no_rows_left_error(raw: pa.Table, wanted: Mapping[str, list[Any]]) -> DataError:
    """Return the error for a filter that leaves no row, from a look at some rows."""
    for name, values in wanted.items():
        left = filter_rows(raw, {name: values})
        if not len(left):
            some = ", ".join(map(str, pc.unique(to_names(decode_array(raw.column(name)))).to_pylist()[:10]))
            place = f"preprocess.filter.{name}"
            return DataError("no row has one of these values", place=place, fix=f"it holds {some}")
        raw = left
    return DataError("no row matches all filters", place="preprocess.filter", fix="remove a filter")
