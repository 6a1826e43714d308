"""The rows of a raw table that a pipeline is about: `only: {country: [DE, FR]}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data.columns import plain, texts
from data.field import DataError, nearest


def chosen(raw: pa.Table, wanted: Mapping[str, list[Any]]) -> pa.Table:
    """The rows of which each column named holds one of its values: column → values. DataError where none is left."""
    for name, values in wanted.items():
        place = f"preprocess.only.{name}"
        if name not in raw.column_names:
            raise DataError(f"there is no column '{name}'", place=place, fix=nearest(name, raw.column_names))
        held = texts(plain(raw.column(name)))
        words = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        kept = raw.filter(pc.is_in(held, pa.array(words, pa.string())))
        if not len(kept):
            some = ", ".join(map(str, pc.unique(held).to_pylist()[:10]))
            raise DataError("no row has one of these values", place=place, fix=f"it holds {some}")
        raw = kept
    return raw
