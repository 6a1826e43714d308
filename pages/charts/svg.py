"""Draw charts as SVG in the colors of the page's style sheet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Self

from evergreen.pages.wording import number_text

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 58, 16, 12, 44  # units of the drawing, about pixels
HEIGHT, SQUARE = 280, 440
Json = Mapping[str, Any]
Points = Sequence[Sequence[float]]


def chart(mark: Json) -> str:
    """Draw curves or clouds over two linear axes."""
    lines = [{**line, "points": _finite(line["points"])} for line in mark["lines"]]
    points = [point for line in lines for point in line["points"]]
    if not points:
        return ""
    height = SQUARE if mark["diagonal"] else HEIGHT
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    if mark["diagonal"]:
        xs = ys = xs + ys
    x, y = Axis.around(xs, LEFT, WIDTH - RIGHT), Axis.around(ys, height - BOTTOM, TOP)
    parts = [_grid(x, y, mark["x"], mark["y"], height)]
    if mark["diagonal"]:
        parts.append(path([(x.at(end), y.at(end)) for end in (min(xs), max(xs))], "dashed"))
    if mark["rule"] is not None:
        at = x.at(mark["rule"])
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
    for line in lines:
        placed = [(x.at(a), y.at(b)) for a, b in line["points"]]
        if line["dots"] or len(placed) == 1:
            parts += [_circle(a, b, 3, line["style"]) for a, b in placed]
        elif placed:
            parts.append(path(placed, line["style"]))
    return svg(parts, "chart", WIDTH, height, f"{mark['y']} over {mark['x']}")


def dot_plot(mark: Json) -> str:
    """Draw one line per row: name, dot, and its interval as a bar."""
    rows = [row for row in mark["rows"] if row["value"] is not None and math.isfinite(row["value"])]
    if not rows:
        return ""
    left, right = min(16 + 7.7 * max(len(row["name"]) for row in rows), 290), WIDTH - 64
    values = [row[end] for row in rows for end in ("value", "low", "high") if row[end] is not None]
    x, height = Axis.around(values, left, right), 30 * len(rows) + TOP + BOTTOM
    parts = []
    for tick in x.ticks:
        at = x.at(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(text(at, height - BOTTOM + 17, x.label(tick)))
    for number, row in enumerate(rows):
        middle, name = TOP + 30 * number + 15, row["name"]
        parts.append(text(left - 12, middle + 4, name if len(name) <= 36 else name[:35] + "…", "end", "name"))
        if row["low"] is not None and row["high"] is not None:
            parts.append(path([(x.at(row["low"]), middle), (x.at(row["high"]), middle)], f"{row['style']} bar"))
        parts.append(_circle(x.at(row["value"]), middle, 5, row["style"]))
        parts.append(text(right + 10, middle + 4, number_text(row["value"]), "start", "name"))
    parts.append(text((left + right) / 2, height - 8, mark["x"]))
    return svg(parts, "chart", WIDTH, height, mark["x"])


def sparkline(mark: Json) -> str:
    """Draw a window of a series and what came next, actual and predicted."""
    history, actual, predicted = mark["history"], mark["actual"], mark["predicted"]
    last = len(history) - 1
    x = Axis.around([0, last + len(actual)], 6, 214)
    y = Axis.around(_known([*history, *actual, *predicted]) or [0], 74, 6)
    parts = [path([(x.at(step), y.at(value)) for step, value in enumerate(history) if value is not None], "faint")]
    for values, style in ((actual, "b"), (predicted, "a")):
        parts += [_circle(x.at(last + 1 + step), y.at(v), 4, style) for step, v in enumerate(values) if v is not None]
    title = "a window of the series, what came after it (orange) and what was predicted (blue)"
    return svg(parts, "spark", 220, 80, title)


def path(points: Points, style: str) -> str:
    """Draw one line through points of the drawing."""
    return f'<path class="{style}" d="M' + "L".join(f"{a:.1f} {b:.1f}" for a, b in points) + '"/>'


def text(x: float, y: float, words: str, anchor: str = "middle", style: str = "", more: str = "") -> str:
    """Draw words, escaped, at a place of the drawing."""
    role = f' class="{style}"' if style else ""
    return f'<text{role} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def svg(parts: Sequence[str], style: str, width: int, height: int, title: str) -> str:
    """Put parts together into one drawing with a title for those who cannot see it."""
    inner = f"<title>{escape(title)}</title>" + "".join(parts)
    return f'<svg class="{style}" viewBox="0 0 {width} {height}" role="img">{inner}</svg>'


@dataclass(frozen=True)
class Axis:
    """A linear scale from data to drawing, with round ticks."""

    low: float
    high: float
    start: float
    end: float
    step: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> Self:
        """Make an axis from `start` to `end` of the drawing that holds all values, with a margin."""
        low, high = min(values), max(values)
        room = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
        rough = (high - low) / 6
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
        return cls(low, high, start, end, step)

    @property
    def ticks(self) -> list[float]:
        """The values that have a tick."""
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        return [number * self.step for number in range(first, last + 1)]

    def at(self, value: float) -> float:
        """Return where a value lies on the drawing."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        """Format the value of a tick."""
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        text = f"{tick:.{digits}f}" if self.step < 1e6 else f"{tick:.3g}"  # years keep their four digits bare
        return text.replace("-", "−") if float(text) else "0"


def _grid(x: Axis, y: Axis, x_name: str, y_name: str, height: int) -> str:
    parts = []
    for tick in y.ticks:
        at = y.at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(text(LEFT - 7, at + 4, y.label(tick), "end"))
    parts += [text(x.at(tick), height - BOTTOM + 17, x.label(tick)) for tick in x.ticks]
    middle = (TOP + height - BOTTOM) / 2
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, height - 8, x_name))
    parts.append(text(14, middle, y_name, more=f' transform="rotate(-90 14 {middle:.0f})"'))
    return "".join(parts)


def _circle(x: float, y: float, radius: int, style: str) -> str:
    return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def _finite(points: Points) -> Points:
    return [(a, b) for a, b in points if None not in (a, b) and math.isfinite(a) and math.isfinite(b)]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
