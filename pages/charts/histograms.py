"""Draw one column's values in a small picture, the splits over each other: a histogram of numbers, bars of words."""

from collections.abc import Mapping
from typing import Any

from evergreen.pages.charts.svg import path, svg, text

WIDTH, HEIGHT, FOOT = 240, 92, 18  # units of the drawing, about pixels; FOOT is for the ends of the axis
STYLES = ("a", "b", "c")  # of the splits, in order
ROW, NAME = 19, 92  # of bars: height of a line, width of its name
LONGEST = 15  # characters of a name
Json = Mapping[str, Any]


def histogram(mark: Json) -> str:
    """Draw shares of each side's values by bin: the first side filled, the others as lines."""
    sides = mark["sides"]
    top = max((share for side in sides for share in side), default=0) or 1.0
    base, step = HEIGHT - FOOT, WIDTH / len(sides[0])
    parts = []
    for side, style in zip(sides, STYLES, strict=False):
        heights = [round(share / top * (base - 4), 1) for share in side]
        if style == "a":
            parts += [
                f'<rect class="a" x="{at * step:.1f}" y="{base - tall:.1f}" width="{step - 0.8:.1f}" height="{tall}"/>'
                for at, tall in enumerate(heights)
                if tall
            ]
        elif any(side):
            parts.append(path([((at + end) * step, base - h) for at, h in enumerate(heights) for end in (0, 1)], style))
    parts.append(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{base}" y2="{base}"/>')
    parts.append(text(0, HEIGHT - 4, mark["low"], "start"))
    parts.append(text(WIDTH, HEIGHT - 4, mark["high"], "end"))
    return svg(parts, "small", WIDTH, HEIGHT, mark["title"])


def bars(mark: Json) -> str:
    """Draw a line for each word with a bar for each side's share, the longest as wide as there is room."""
    shares = mark["shares"]
    top = max((share for row in shares.values() for share in row), default=0) or 1.0
    room, parts = WIDTH - NAME - 36, []
    for line, (name, row) in enumerate(shares.items()):
        y, thick = line * ROW, (ROW - 5) / max(1, len(row))
        shown = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        parts.append(text(NAME - 6, y + 12, shown, "end", "name"))
        for number, (share, style) in enumerate(zip(row, STYLES, strict=False)):
            at, wide = y + 2 + number * thick, max(share / top * room, 0.5)
            place = f'x="{NAME}" y="{at:.1f}" width="{wide:.1f}" height="{thick - 0.4:.1f}"'
            parts.append(f'<rect class="{style} full" {place}/>')
        words = f"{row[0]:.0%}" if row[0] >= 0.01 or not row[0] else "<1%"
        parts.append(text(NAME + max(row) / top * room + 5, y + 12, words, "start"))
    return svg(parts, "small", WIDTH, ROW * len(shares) + 2, mark["title"])
