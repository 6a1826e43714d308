"""Pictures as text: SVG in the colours of the page's style sheet, PNG for images. Same data, same bytes."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 58, 16, 12, 44  # units of the drawing, about pixels
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve of a chart; `style` is a class of the style sheet: a, b, c, faint."""

    name: str
    points: Points
    style: str = "a"
    dots: bool = False  # dots alone, unconnected


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot: a value, maybe with an interval, maybe the one that counts."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    style: str = "b"


def chart(
    lines: Sequence[Line], *, x: str, y: str, height: int = 280, diagonal: bool = False, mark: float | None = None
) -> str:
    """Curves or clouds over two linear axes; `diagonal` draws y = x, `mark` a vertical line at that x."""
    points = [point for line in lines for point in line.points if all(map(math.isfinite, point))]
    if not points:
        return ""
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    if diagonal:
        xs = ys = xs + ys
    axis_x, axis_y = Axis.around(xs, LEFT, WIDTH - RIGHT), Axis.around(ys, height - BOTTOM, TOP)
    parts = [_grid(axis_x, axis_y, x, y, height)]
    if diagonal:
        ends = [(axis_x.at(end), axis_y.at(end)) for end in (min(xs), max(xs))]
        parts.append(_path(ends, "faint"))
    if mark is not None:
        at = axis_x.at(mark)
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
    for line in lines:
        placed = [(axis_x.at(a), axis_y.at(b)) for a, b in line.points if math.isfinite(a) and math.isfinite(b)]
        if line.dots or len(placed) == 1:
            parts += [f'<circle class="{line.style}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in placed]
        else:
            parts.append(_path(placed, line.style))
    return _legend(lines) + _svg(parts, WIDTH, height, f"{y} over {x}")


def dots(rows: Sequence[Dot], *, x: str) -> str:
    """One line per row: name, dot, and its interval as a bar."""
    rows = [row for row in rows if math.isfinite(row.value)]
    if not rows:
        return ""
    left = 16 + 7 * max(len(row.name) for row in rows)
    left, right = min(left, 260), WIDTH - 64
    values = [v for row in rows for v in (row.value, row.low, row.high) if v is not None and math.isfinite(v)]
    axis, height = Axis.around(values, left, right), 30 * len(rows) + TOP + BOTTOM
    parts = []
    for tick in axis.ticks:
        at = axis.at(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - BOTTOM + 17}" text-anchor="middle">{axis.label(tick)}</text>')
    for number, row in enumerate(rows):
        middle = TOP + 30 * number + 15
        name = escape(row.name if len(row.name) <= 36 else row.name[:35] + "…")
        parts.append(f'<text class="name" x="{left - 12}" y="{middle + 4}" text-anchor="end">{name}</text>')
        if row.low is not None and row.high is not None and math.isfinite(row.low + row.high):
            ends = [(axis.at(row.low), middle), (axis.at(row.high), middle)]
            parts.append(_path(ends, f"{row.style} bar"))
        parts.append(f'<circle class="{row.style}" cx="{axis.at(row.value):.1f}" cy="{middle}" r="5"/>')
        parts.append(f'<text class="name" x="{right + 10}" y="{middle + 4}">{number_text(row.value)}</text>')
    parts.append(f'<text x="{(left + right) / 2:.0f}" y="{height - 8}" text-anchor="middle">{escape(x)}</text>')
    return _svg(parts, WIDTH, height, x)


def spark(history: Sequence[float], actual: Sequence[float], said: Sequence[float]) -> str:
    """A window of a series and what came next, said and actual."""
    after = len(history) - 1
    lines = [*zip(range(after + 1), history, strict=True)]
    all_values = [*history, *actual, *said]
    x, y = Axis.around([0, after + len(actual)], 6, 214), Axis.around(all_values, 74, 6)

    def place(values: Sequence[float]) -> list[tuple[float, float]]:
        return [(x.at(after + 1 + step), y.at(value)) for step, value in enumerate(values)]

    parts = [_path([(x.at(a), y.at(b)) for a, b in lines], "faint line")]
    parts += [f'<circle class="b" cx="{a:.1f}" cy="{b:.1f}" r="4"/>' for a, b in place(actual)]
    parts += [f'<circle class="a" cx="{a:.1f}" cy="{b:.1f}" r="4"/>' for a, b in place(said)]
    return _svg(parts, 220, 80, "a window of the series, what came (orange) and what was said (blue)", small=True)


def image(values: Any, alt: str) -> str:
    """An <img> of an array (C, H, W), stretched from darkest to brightest; the first or first three channels."""
    channels = values[:3] if len(values) >= 3 else values[:1]
    low, high = float(channels.min()), float(channels.max())
    grey = ((channels - low) * (255 / ((high - low) or 1))).round().astype("uint8").transpose(1, 2, 0)
    height, width, depth = grey.shape
    raw = b"".join(b"\0" + grey[row].tobytes() for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if depth == 3 else 0, 0, 0, 0)
    body = b"".join(_chunk(*part) for part in ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")))
    text = base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()
    return f'<img src="data:image/png;base64,{text}" alt="{escape(alt)}">'


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def number_text(value: float | None) -> str:
    """A number with three or four digits that tell something."""
    if value is None or not math.isfinite(value):
        return "—"
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
    digits += 0.999 < value < 1  # what is not quite one does not look like it
    text = f"{value:,.{digits}f}" if size >= 0.001 or value == 0 else f"{value:.2e}"
    return text.replace("-", "−")


@dataclass(frozen=True)
class Axis:
    """A linear scale from data to drawing, with round ticks."""

    low: float
    high: float
    start: float
    end: float
    step: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> Axis:
        low, high = min(values), max(values)
        room = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
        rough = (high - low) / 6
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
        return cls(low, high, start, end, step)

    @property
    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        return [number * self.step for number in range(first, last + 1)]

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        text = f"{tick:.{digits}f}" if self.step < 1e6 else f"{tick:.3g}"  # years keep their four digits bare
        return text.replace("-", "−") if float(text) else "0"


def _grid(x: Axis, y: Axis, x_name: str, y_name: str, height: int) -> str:
    parts = []
    for tick in y.ticks:
        at = y.at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{y.label(tick)}</text>')
    for tick in x.ticks:
        parts.append(
            f'<text x="{x.at(tick):.1f}" y="{height - BOTTOM + 17}" text-anchor="middle">{x.label(tick)}</text>'
        )
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + height - BOTTOM) / 2
    parts.append(f'<text x="{middle_x:.0f}" y="{height - 8}" text-anchor="middle">{escape(x_name)}</text>')
    turn = f'transform="rotate(-90 14 {middle_y:.0f})"'
    parts.append(f'<text x="14" y="{middle_y:.0f}" text-anchor="middle" {turn}>{escape(y_name)}</text>')
    return "".join(parts)


def _path(points: Points, style: str) -> str:
    return f'<path class="{style}" d="M' + "L".join(f"{a:.1f} {b:.1f}" for a, b in points) + '"/>'


def _legend(lines: Sequence[Line]) -> str:
    named = [line for line in lines if line.name]
    if not named:
        return ""
    return (
        '<p class="legend">'
        + "".join(f'<span class="{line.style}">{escape(line.name)}</span>' for line in named)
        + "</p>"
    )


def _svg(parts: Sequence[str], width: int, height: int, title: str, *, small: bool = False) -> str:
    kind, box = ("spark" if small else "chart"), f"0 0 {width} {height}"
    inner = f"<title>{escape(title)}</title>" + "".join(parts)
    return f'<div class="scroll"><svg class="{kind}" viewBox="{box}" role="img">{inner}</svg></div>'
