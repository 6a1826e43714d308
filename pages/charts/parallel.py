"""Draw parallel coordinates: an axis for each quantity beside the others, a line across them for each thing."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from evergreen.pages.charts.svg import path, svg, text

WIDTH, TOP, BOTTOM, EDGE = 720, 34, 230, 60  # units of the drawing, about pixels
LONGEST = 16  # characters of a name
Json = Mapping[str, Any]


def parallel(mark: Json) -> str:
    """Draw the lines, the best ones last and in colour; a line is broken where it has no value."""
    names = mark["names"]
    step = (WIDTH - 2 * EDGE) / max(1, len(names) - 1)
    places = [EDGE + step * number for number in range(len(names))]
    parts = []
    for place, name, low, high in zip(places, names, mark["low"], mark["high"], strict=True):
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
        parts.append(text(place, TOP - 18, name if len(name) <= LONGEST else name[: LONGEST - 1] + "…", style="name"))
        parts += [text(place, TOP - 5, high), text(place, BOTTOM + 14, low)]
    order = sorted(range(len(mark["lines"])), key=lambda number: number in mark["best"])
    for number in order:
        points = [
            None if value is None else (place, BOTTOM - value * (BOTTOM - TOP))
            for place, value in zip(places, mark["lines"][number], strict=True)
        ]
        style = "a" if number in mark["best"] else "faint"
        parts += [path([one, other], style) for one, other in pairwise(points) if one and other]
    return svg(parts, "chart", WIDTH, BOTTOM + 22, mark["title"])
