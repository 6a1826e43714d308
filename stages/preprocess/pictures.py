"""Describe prepared rows in marks, as their kinds show them: each column in the three splits, and some rows."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.marks import (
    Bars,
    BoxedImage,
    Chart,
    Figure,
    Gallery,
    Graph,
    Histogram,
    Image,
    Line,
    Mark,
    SideLegend,
    Sparkline,
    StyledText,
    Table,
    Text,
)
from evergreen.data import kinds
from evergreen.data.arrow import decode_array, evenly_spaced_indices, stack_lists, to_numpy, to_strings
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.prepare.times import read_times
from evergreen.data.spec import FeatureSpec
from evergreen.stages.preprocess.samples import Samples

SPLITS = ("training", "validation", "test")
MAX_COLUMNS = 60  # columns that are drawn; nobody reads a page of more
MAX_VALUES = 10  # words of a column
FAR = 10  # interquartile ranges beyond the quartiles: what lies farther is counted at the edge
BINS, FEW_ROWS = 24, 400  # of fewer rows half as many bins
MAX_POINTS = 400  # of each split, over time
YEAR = 365.2425 * 86_400e6  # microseconds
EXAMPLES, TABLE_ROWS, TABLE_COLUMNS = 12, 6, 10
LONGEST = 280  # characters of a value
Array = np.ndarray[Any, Any]


def columns(samples: Samples, missing: Mapping[str, int], n_rows: int) -> list[Mark]:
    """Return a figure for each column, the target first; `missing` are counts over all `n_rows`."""
    kind_of = {samples.target: samples.kind, **samples.inputs}
    shown = [name for name in list(kind_of)[:MAX_COLUMNS] if name in samples.train.column_names]
    figures = [_column(name, kind_of[name], samples, missing.get(name, 0) / max(1, n_rows)) for name in shown]
    marks: list[Mark] = [*_sampled(samples), SideLegend(SPLITS), Gallery(figures, wide=True)]
    if more := list(kind_of)[MAX_COLUMNS:]:
        listed = ", ".join(more[:MAX_COLUMNS])
        marks.append(Text(f"{len(more)} more columns are not drawn: {listed}", note=True))
    return marks


def _sampled(samples: Samples) -> list[Mark]:
    """Say of how many rows the pictures are, where not of all."""
    counts = dict(zip(samples.rows, map(len, samples.tables), strict=False))
    if all(count >= samples.rows[split] for split, count in counts.items()):
        return []
    listed = ", ".join(f"{count:,} of {samples.rows[split]:,} {split}" for split, count in counts.items())
    return [Text(f"Drawn from {listed} rows, those with the smallest ids.", note=True)]


def _column(name: str, kind_name: str, samples: Samples, missing: float) -> Figure:
    kind = kinds.find(kind_name)
    measured: list[Any] = [kind.measure(decode_array(table.column(name))) for table in samples.tables]
    about = [
        *(["target"] if name == samples.target else []),
        kind_name,
        *([f"{missing:.1%} missing"] if missing else []),
        *([kind.MEASURE] if kind.MEASURE else []),
    ]
    mark = _bars(measured, name) if isinstance(measured[0], Counter) else _histogram(measured, name, kind)
    head = StyledText([(name, "strong"), (" " + ", ".join(about), "soft")])
    return Figure([head, *([mark] if mark else [])])


def _histogram(measured: Sequence[Any], name: str, kind: Kind) -> Mark | None:
    if measured[0] is None:
        return None
    sides = [side[np.isfinite(side)] for side in measured]
    values = np.concatenate(sides)
    write: Callable[[float], str] = kind.format_measure
    if not len(values):
        return Text("no value", note=True)
    if values.min() == values.max():
        return Text(f"always {write(float(values[0]))}", note=True)
    first, third = np.quantile(values, [0.25, 0.75])
    low, high = float(values.min()), float(values.max())
    if third > first:  # a few far values would press all others into one bar
        low = max(low, float(first - FAR * (third - first)))
        high = min(high, float(third + FAR * (third - first)))
    edges = np.linspace(low, high, (BINS if len(sides[0]) >= FEW_ROWS else BINS // 2) + 1)
    shares = [np.histogram(side.clip(low, high), edges)[0] / max(1, len(side)) for side in sides]
    ends = ("< " * bool(low > values.min()) + write(low), "> " * bool(high < values.max()) + write(high))
    middle = write(float(np.median(sides[0]))) if len(sides[0]) else "—"
    title = f"{name}: {write(low)} to {write(high)}, median of the training rows {middle}"
    return Histogram([side.round(6).tolist() for side in shares], *ends, title)


def _bars(counts: Sequence[Counter[str]], name: str) -> Mark:
    rows = [max(1, side.total()) for side in counts]
    common = [word for word, _ in sorted(counts[0].items(), key=lambda item: (-item[1], item[0]))[:MAX_VALUES]]
    shares = {word: [round(side[word] / n, 6) for side, n in zip(counts, rows, strict=True)] for word in common}
    if (more := len(counts[0]) - MAX_VALUES) > 0:
        rest = (1 - sum(row[side] for row in shares.values()) for side in range(len(counts)))
        shares[f"{more} others"] = [max(0.0, share) for share in rest]
    return Bars(shares, f"{name}: shares of its commonest values in each split")


def over_time(samples: Samples) -> list[Mark]:
    """Return the target's numbers over time, the splits in their colors; nothing without a time or numbers."""
    if "_time" not in samples.train.column_names or not _is_numeric(samples.train.column(samples.target).type):
        return []
    lines = []
    for table, name, style in zip(samples.tables, SPLITS, "abc", strict=True):
        time, value = _years(decode_array(table.column("_time"))), _numbers(decode_array(table.column(samples.target)))
        order = np.argsort(time, kind="stable")
        parts = np.array_split(order, min(MAX_POINTS, len(order)))  # neighbours in time as their mean
        points = [(float(time[part].mean()), float(value[part].mean())) for part in parts]
        lines.append(Line(name, points, style))
    return [Chart(lines, x=samples.time or "time", y=samples.target)]


def _is_numeric(stored: pa.DataType) -> bool:
    number = stored.value_type if pa.types.is_fixed_size_list(stored) else stored
    return bool(pa.types.is_floating(number))


def _years(column: pa.Array) -> Array:
    """Convert times, those written as text too, to years; numbers stay as they are."""
    column, _ = read_times(column)
    if not pa.types.is_temporal(column.type):
        return to_numpy(column).astype(np.float64)
    micro = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None))).cast(pa.int64())
    return np.asarray(1970 + to_numpy(micro) / YEAR)


def _numbers(column: pa.Array) -> Array:
    if pa.types.is_floating(column.type):
        return to_numpy(column)
    return stack_lists(column)[0].reshape(len(column), -1)[:, 0]


def examples(samples: Samples, spec: FeatureSpec) -> list[Mark]:
    """Return some training rows, of each class in turn where there are classes, as their kinds show them."""
    name = spec.target_name
    rows = samples.train.take(_spread(samples, spec))
    inputs = [marks for field in spec.inputs.values() if any(marks := show(field, rows))]
    targets = kinds.kind_of(spec.target).show_target(spec.target, [_array(rows, name)], inputs[0] if inputs else ())
    if not inputs and not any(targets):
        return [_table(rows, [samples.target, *samples.inputs])]
    figures = []
    for row, target in enumerate(targets):
        shown = [marks[row] for marks in inputs]
        labels = {name: short(_array(rows, name)[row].as_py())} if target is None else {}
        if isinstance(target, StyledText):
            labels = {name: target.pieces[0][0]}
        elif isinstance(target, Sparkline | BoxedImage):  # they repeat the input that they are drawn over
            shown[0] = target
        else:
            shown.append(target)
        origin = str(rows.column("_origin")[row])
        figures.append(Figure([mark for mark in shown if mark is not None], labels, origin))
    small = len(figures[0].marks) == 1 and isinstance(figures[0].marks[0], Image | Graph)
    return [Gallery(figures, wide=not small)]


def show(field: TensorField, rows: pa.Table) -> Sequence[Mark | None]:
    """Return a mark for each row of a field, or None."""
    return kinds.kind_of(field).show(field, [_array(rows, name) for name in field.columns])


def _array(rows: pa.Table, name: str) -> pa.Array:
    return decode_array(rows.column(name))


def _spread(samples: Samples, spec: FeatureSpec) -> list[int]:
    if spec.target.shape or "values" not in spec.target.state:
        return list(map(int, evenly_spaced_indices(len(samples.train), EXAMPLES)))
    counts: Counter[str] = Counter()
    order = []
    for row, name in enumerate(to_strings(decode_array(samples.train.column(samples.target))).to_pylist()):
        order.append((counts[name], str(name), row))
        counts[name] += 1
    return [row for _, _, row in sorted(order)[:EXAMPLES]]


def short(value: Any) -> str:
    """Return a value in few words."""
    if isinstance(value, list):
        return ", ".join(short(item) for item in value[:8]) + (", …" if len(value) > 8 else "")
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:LONGEST]


def _table(rows: pa.Table, names: list[str]) -> Mark:
    names = [name for name in dict.fromkeys(names) if name in rows.column_names][:TABLE_COLUMNS]
    sample = rows.select(names).slice(0, TABLE_ROWS)
    parts = [_dates(column) if pa.types.is_timestamp(column.type) else column.to_pylist() for column in sample.columns]
    return Table(names, [[short(value) for value in row] for row in zip(*parts, strict=True)])


def _dates(times: pa.ChunkedArray) -> list[str]:
    """Write times as people do: without the hour where it is midnight."""
    return [(text or "").removesuffix(" 00:00:00Z") for text in pc.strftime(times, "%Y-%m-%d %H:%M:%SZ").to_pylist()]
