"""Small pictures of one column, the splits over each other: a histogram of numbers, bars of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, FOOT = 240, 92, 18  # units of the drawing, about pixels; FOOT is for the ends of the axis
STYLES = ("a", "b", "c")  # of the splits, in order
BINS = 24
MANY = 400  # rows: of fewer, half as many bins
ROW, NAME = 19, 92  # of bars: height of a line, width of its name
LONGEST = 15  # characters of a name


def histogram(sides: Sequence[np.ndarray], ends: tuple[float, float], written: tuple[str, str], title: str) -> str:
    """How each side's numbers (N,) lie between `ends`, as shares of the side: the first filled, the others as lines.
    `written` are the ends in words; what lies beyond them is counted at them."""
    low, high = ends
    bins = BINS if len(sides[0]) >= MANY else BINS // 2
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    shares = [np.histogram(np.clip(side, low, high), edges)[0] / max(1, len(side)) for side in sides]
    top = max((float(share.max()) for share in shares), default=0) or 1.0
    base, step = HEIGHT - FOOT, WIDTH / bins
    parts = []
    for share, style in zip(shares, STYLES, strict=False):
        tall = (share / top * (base - 4)).round(1)
        if style == "a":
            parts += [
                f'<rect class="a" x="{place * step:.1f}" y="{base - one:.1f}" width="{step - 0.8:.1f}" height="{one}"/>'
                for place, one in enumerate(tall.tolist())
                if one
            ]
        elif share.any():
            corners = [
                f"{(place + side) * step:.1f} {base - one:.1f}" for place, one in enumerate(tall) for side in (0, 1)
            ]
            parts.append(f'<path class="{style}" d="M{"L".join(corners)}"/>')
    parts.append(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{base}" y2="{base}"/>')
    parts.append(f'<text x="0" y="{HEIGHT - 4}">{escape(written[0])}</text>')
    parts.append(f'<text x="{WIDTH}" y="{HEIGHT - 4}" text-anchor="end">{escape(written[1])}</text>')
    return _small(parts, HEIGHT, title)


def bars(shares: Mapping[str, Sequence[float]], title: str) -> str:
    """A line for each word with a bar for each side's share, 0 to 1, the longest as wide as there is room."""
    top = max((share for row in shares.values() for share in row), default=0) or 1.0
    room, parts = WIDTH - NAME - 36, []
    for line, (name, row) in enumerate(shares.items()):
        y, thick = line * ROW, (ROW - 5) / max(1, len(row))
        shown = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        parts.append(f'<text class="name" x="{NAME - 6}" y="{y + 12}" text-anchor="end">{escape(shown)}</text>')
        for place, (share, style) in enumerate(zip(row, STYLES, strict=False)):
            at, wide = y + 2 + place * thick, max(share / top * room, 0.5)
            parts.append(
                f'<rect class="{style} full" x="{NAME}" y="{at:.1f}" width="{wide:.1f}" height="{thick - 0.4:.1f}"/>'
            )
        text = f"{row[0]:.0%}" if row[0] >= 0.01 or not row[0] else "<1%"
        parts.append(f'<text x="{NAME + max(row) / top * room + 5:.1f}" y="{y + 12}">{escape(text)}</text>')
    return _small(parts, ROW * len(shares) + 2, title)


def legend(names: Sequence[str]) -> str:
    """Which colour is which side."""
    spans = "".join(f'<span class="{style}">{escape(name)}</span>' for name, style in zip(names, STYLES, strict=False))
    return f'<p class="legend">{spans}</p>'


def _small(parts: Sequence[str], height: int, title: str) -> str:
    inner = f"<title>{escape(title)}</title>{''.join(parts)}"
    return f'<svg class="small" viewBox="0 0 {WIDTH} {height}" role="img">{inner}</svg>'
