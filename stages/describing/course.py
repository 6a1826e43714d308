"""How a number that is predicted ran over time, the splits in their colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from evergreen.data.arrow import decode_array, stack_lists
from evergreen.data.prepare.windows import read_times
from evergreen.stages.drawing.pictures import Line, chart
from evergreen.stages.drawing.small import STYLES

if TYPE_CHECKING:
    from evergreen.stages.preprocess.samples import Samples

NAMES = ("training", "validation", "test")
POINTS = 400  # of each split
YEAR = 365.2425 * 86_400e6  # microseconds
Array = np.ndarray[Any, Any]


def course(samples: Samples) -> str:
    """A line over time; nothing where rows have no time or the target is no number."""
    if samples.kind not in ("number", "series") or "_time" not in samples.train.column_names:
        return ""
    lines = []
    for table, name, style in zip(samples.tables, NAMES, STYLES, strict=True):
        moment, value = _moment(decode_array(table.column("_time"))), _value(decode_array(table.column(samples.target)))
        order = np.argsort(moment, kind="stable")
        parts = np.array_split(order, min(POINTS, len(order)))  # neighbours in time as their mean
        lines.append(Line(name, [(float(moment[part].mean()), float(value[part].mean())) for part in parts], style))
    return chart(lines, x=samples.time or "time", y=samples.target)


def _moment(column: pa.Array) -> Array:
    """Times as years, also those that stand there as text; numbers as they are."""
    column, _ = read_times(column)
    if not pa.types.is_temporal(column.type):
        return column.to_numpy(zero_copy_only=False).astype(np.float64)
    micro = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None))).cast(pa.int64())
    return 1970 + micro.to_numpy(zero_copy_only=False) / YEAR


def _value(column: pa.Array) -> Array:
    if pa.types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)
    values: Array = stack_lists(column)[0].reshape(len(column), -1)[:, 0]
    return values
