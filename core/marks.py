"""Describe pictures as data: kinds and tasks return marks, stages store them as JSON, and `pages/` draws them.

A mark says what is to be seen and nothing about HTML or SVG. Every value in it is JSON; pixels are PNG bytes as base64.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, dataclass_transform

Json = Mapping[str, Any]
Points = Sequence[Sequence[float]]  # [x, y] each


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Mark:
    """The base of all marks: each is a frozen dataclass."""

    def __init_subclass__(cls) -> None:
        """Make the class a dataclass."""
        dataclass(frozen=True)(cls)

    def to_json(self) -> dict[str, Any]:
        """Return the mark as JSON, `mark` being the name of its class."""
        return {"mark": type(self).__name__, **{name: _json(value) for name, value in vars(self).items()}}


class Text(Mark):
    """A paragraph; what stands between `backticks` is code. A `note` is set in a quieter colour."""

    text: str
    note: bool = False


class Link(Mark):
    """A way to another page, relative to this one."""

    text: str
    target: str


class Table(Mark):
    """Rows of text and numbers under a head; row `best` is set in bold."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    best: int | None = None


class Values(Mark):
    """Names and values."""

    values: Json


class Fold(Mark):
    """Marks that are folded away behind a summary."""

    summary: str
    marks: Sequence[Mark]


class Items(Mark):
    """A list, of marks for each item."""

    items: Sequence[Sequence[Mark]]


class Matrix(Mark):
    """Counts (K, K) by actual class (row) and predicted class (column)."""

    names: Sequence[str]
    counts: Sequence[Sequence[int]]


class Line(Mark):
    """One curve of a chart. `style` is one of a, b, c (colours), faint, dashed; a `band` is a filled outline."""

    name: str
    points: Points
    style: str = "a"
    dots: bool = False  # dots alone, not connected


class Chart(Mark):
    """Curves or clouds over two linear axes; `diagonal` draws y = x, `rule` a vertical line at that x."""

    lines: Sequence[Line]
    x: str
    y: str
    diagonal: bool = False
    rule: float | None = None


class ParallelLines(Mark):
    """A line for each thing across one axis per name: values from 0 to 1 of each axis, whose ends are named.

    The `best` lines, by number, are set off.
    """

    names: Sequence[str]
    lines: Sequence[Sequence[float | None]]
    low: Sequence[str]
    high: Sequence[str]
    best: Sequence[int] = ()
    title: str = ""


class Dot(Mark):
    """One row of a dot plot: a value, perhaps with an interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    style: str = "b"


class DotPlot(Mark):
    """Values below each other over one axis."""

    rows: Sequence[Dot]
    x: str


class Histogram(Mark):
    """Shares of each side's values in bins of equal width from `low` to `high` (as written on the axis)."""

    sides: Sequence[Sequence[float]]
    low: str
    high: str
    title: str


class Bars(Mark):
    """The share of each side, 0 to 1, for each word."""

    shares: Mapping[str, Sequence[float]]
    title: str


class SideLegend(Mark):
    """A legend that says which colour is which side."""

    names: Sequence[str]


class Sparkline(Mark):
    """A window of a series, and what came after it, actual and predicted."""

    history: Sequence[float]
    actual: Sequence[float] = ()
    predicted: Sequence[float] = ()


class Graph(Mark):
    """Nodes 0 to n_nodes - 1 and edges between them; node 0 is the one that is asked about if it `has_center`."""

    n_nodes: int
    edges: Sequence[Sequence[int]]
    has_center: bool
    title: str = ""


class Image(Mark):
    """A PNG file as base64; see core/png.py."""

    png: str
    title: str = ""


class MaskedImage(Mark):
    """A class for each pixel over an image. In `mask`, a grey PNG file, 0 is unlabelled and k + 1 is class k."""

    png: str
    mask: str
    title: str = ""


class ClassColors(Mark):
    """The colour of each class in masks; the first class is left as the image has it."""

    names: Sequence[str]


class BoxedImage(Mark):
    """Boxes {x0, y0, x1, y1, class, score} over an image, their corners in units of `size` (height, width)."""

    png: str
    size: Sequence[int]
    actual: Sequence[Json] = ()
    predicted: Sequence[Json] = ()
    title: str = ""


class StyledText(Mark):
    """Pieces of a text, each (text, style): "", strong, soft, code, tag, marked, deleted or inserted."""

    pieces: Sequence[tuple[str, str]]


class Figure(Mark):
    """Marks side by side over a caption of labels and values; `highlight` asks for attention."""

    marks: Sequence[Mark]
    labels: Json = field(default_factory=dict)
    origin: str = ""
    highlight: bool = False


class Gallery(Mark):
    """Figures in a grid, `wide` ones or small ones; `columns` fixes how many stand in a row."""

    figures: Sequence[Figure]
    wide: bool = False
    columns: int = 0


class Section(Mark):
    """A heading and what stands under it."""

    title: str
    marks: Sequence[Mark]


def _json(value: Any) -> Any:
    if isinstance(value, Mark):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return value
    return [_json(item) for item in value]
