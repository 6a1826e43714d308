"""One figure for each column: how its values lie in the three splits, and how many are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data.arrow import decode_array, stack_lists, to_strings
from evergreen.data.kinds import _images as pixels
from evergreen.stages.drawing.markup import note
from evergreen.stages.drawing.small import bars, histogram, legend

if TYPE_CHECKING:
    from evergreen.stages.preprocess.samples import Samples

MOST = 60  # columns drawn; a page of more would not be read
VALUES = 10  # of a category
FAR = 10  # interquartile ranges beyond the quartiles: what lies farther is drawn at the edge
SPLITS = ("training", "validation", "test")
Array = np.ndarray[Any, Any]


def columns(samples: Samples, missing: Mapping[str, int], rows: int) -> str:
    """The target first; `missing` are counts over all `rows`."""
    kind_of = {samples.target: samples.kind, **samples.inputs}
    drawn = [
        _figure(name, kind, samples, missing.get(name, 0) / max(1, rows), target=name == samples.target)
        for name, kind in list(kind_of.items())[:MOST]
        if name in samples.train.column_names
    ]
    more = len(kind_of) - MOST
    rest = note(f"{more} more columns are not drawn: {', '.join(list(kind_of)[MOST:][:MOST])}") if more > 0 else ""
    return legend(SPLITS) + f'<div class="wrong-ones wide">{"".join(drawn)}</div>{rest}'


def _figure(name: str, kind: str, samples: Samples, missing: float, *, target: bool) -> str:
    sides = [decode_array(table.column(name)) for table in samples.tables]
    drawn, said = _drawn(sides, kind, name)
    lacking = f", {missing:.1%} missing" if missing else ""
    role = "<b>target</b>, " if target else ""
    about = f'<div class="soft">{role}{escape(kind)}{lacking}{escape(f", {said}" if said else "")}</div>'
    return f"<figure><b>{escape(name)}</b>{about}{drawn}</figure>"


def _drawn(sides: Sequence[pa.Array], kind: str, name: str) -> tuple[str, str]:
    """The picture of a column, and what it shows where that is not the value itself."""
    if kind in WORDS:
        return _bars([WORDS[kind](side) for side in sides], name), ""
    if kind not in NUMBERS:
        return "", ""
    measure, said, write = NUMBERS[kind]
    values = [measure(side) for side in sides]
    values = [side[np.isfinite(side)] for side in values]
    return _histogram(values, name, write), said


def _histogram(values: Sequence[Array], name: str, write: Callable[[float], str]) -> str:
    whole = np.concatenate(list(values))
    if not len(whole):
        return note("no value")
    if whole.min() == whole.max():
        return note(f"always {write(float(whole[0]))}")
    first, third = np.quantile(whole, [0.25, 0.75])
    room = FAR * (third - first)
    low, high = float(whole.min()), float(whole.max())
    if room:  # a few values far away would press all others into one bar
        low, high = max(low, float(first - room)), min(high, float(third + room))
    beyond = ("< " if low > whole.min() else "", "> " if high < whole.max() else "")
    middle = write(float(np.median(values[0]))) if len(values[0]) else "—"
    title = f"{name}: {write(low)} to {write(high)}, median of the training rows {middle}"
    return histogram(values, (low, high), (beyond[0] + write(low), beyond[1] + write(high)), title)


def _bars(words: Sequence[Counter[str]], name: str) -> str:
    rows = [max(1, sum(side.values())) for side in words]
    commonest = [word for word, _ in sorted(words[0].items(), key=lambda one: (-one[1], one[0]))[:VALUES]]
    shares = {word: [side[word] / count for side, count in zip(words, rows, strict=True)] for word in commonest}
    rest = [1 - sum(row[place] for row in shares.values()) for place in range(len(words))]
    if len(words[0]) > VALUES:
        shares[f"{len(words[0]) - VALUES} others"] = [max(0.0, share) for share in rest]
    return bars(shares, f"{name}: shares of its commonest values in each split")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment / 1e6, UTC).date().isoformat()


def _plain(column: pa.Array) -> Array:
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _values(column: pa.Array) -> Array:
    values = stack_lists(column)[0]
    return values.reshape(*values.shape[:2], -1)[:, :, 0].ravel().astype(np.float64)


def _moments(column: pa.Array) -> Array:
    return column.drop_null().cast(pa.int64()).to_numpy().astype(np.float64)  # they are microseconds: see the kind


def _lengths(column: pa.Array) -> Array:
    held = column.drop_null()
    words = (
        pc.count_substring_regex(held, r"[^\s\p{Z}]+") if pa.types.is_string(held.type) else pc.list_value_length(held)
    )
    return words.to_numpy(zero_copy_only=False).astype(np.float64)


def _brightness(column: pa.Array) -> Array:
    if pa.types.is_binary(column.type):
        return np.array(
            [pixels.decode_image(data.as_py(), (16, 16), 1).mean() for data in column.drop_null()], np.float64
        )
    values = stack_lists(column)[0]
    return values.reshape(len(values), -1).mean(axis=1).astype(np.float64)


def _seconds(column: pa.Array) -> Array:
    rates = [rate or 1 for rate in column.field("rate").to_pylist()]
    lengths = pc.list_value_length(column.field("samples")).fill_null(0).to_pylist()
    return np.array([length / rate for length, rate in zip(lengths, rates, strict=True)], np.float64)


def _nodes(column: pa.Array) -> Array:
    return pc.list_value_length(column.drop_null().field("nodes")).to_numpy(zero_copy_only=False).astype(np.float64)


def _categories(column: pa.Array) -> Counter[str]:
    return Counter(to_strings(column).drop_null().to_pylist())


def _listed(column: pa.Array) -> Counter[str]:
    return Counter(str(word) for row in column.drop_null().to_pylist() for word in row)


def _boxes(column: pa.Array) -> Counter[str]:
    return Counter(box["class"] for row in column.drop_null().to_pylist() for box in row)


def _classes(column: pa.Array) -> Counter[str]:
    """The classes of a mask's pixels."""
    if pa.types.is_binary(column.type):
        values = np.concatenate([pixels.decode_labels(data.as_py(), (32, 32)).ravel() for data in column.drop_null()])
    else:
        values = stack_lists(column)[0].ravel()
    found, counts = np.unique(values.astype(np.int64), return_counts=True)
    return Counter(dict(zip(map(str, found.tolist()), counts.tolist(), strict=True)))


WORDS: dict[str, Callable[[pa.Array], Counter[str]]] = {
    "category": _categories,
    "boolean": _categories,
    "labels": _listed,
    "tags": _listed,
    "boxes": _boxes,
    "mask": _classes,
}
NUMBERS: dict[str, tuple[Callable[[pa.Array], Array], str, Callable[[float], str]]] = {
    "series": (_values, "all its values", _short),
    "number": (_plain, "", _short),
    "moment": (_moments, "", _date),
    "text": (_lengths, "words in a row", _short),
    "tokens": (_lengths, "words in a row", _short),
    "image": (_brightness, "mean brightness", _short),
    "audio": (_seconds, "seconds", _short),
    "graph": (_nodes, "nodes", _short),
}
