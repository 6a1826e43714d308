"""What lies over a picture: the classes of its pixels, the boxes around its things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from evergreen.stages.drawing.pictures import image

COLOURS = ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac")
SIDE = 320  # units of a drawing's width
CORNERS = ("x0", "y0", "x1", "y1")
Array = np.ndarray[Any, Any]


def tinted(picture: Array, mask: Array) -> Array:
    """(3, H, W) the picture in grey, each class but the first in its colour; unlabelled pixels are black."""
    grey = picture.mean(0)
    grey = (grey - grey.min()) / ((grey.max() - grey.min()) or 1.0) * 255
    down, right = (np.arange(new) * old // new for new, old in zip(mask.shape, grey.shape, strict=True))
    grey = grey[down][:, right]
    colours = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in COLOURS], np.float64)
    tint = colours[(mask - 1) % len(COLOURS)].transpose(2, 0, 1)
    drawn = np.where(mask > 0, 0.3 * grey + 0.7 * tint, grey) * (mask >= 0)
    drawn[:, 0, 0] = 0  # both ends of the range occur, so that no picture is stretched
    drawn[:, 0, -1] = 255
    result: Array = drawn
    return result


def boxed(
    picture: Array, size: Sequence[int], true: Sequence[Mapping[str, Any]], said: Sequence[Mapping[str, Any]], alt: str
) -> str:
    """SVG of a picture (C, H, W) with boxes whose corners are in units of `size`: the true ones dashed, those that were
    said whole, with how sure it was."""
    height = SIDE * picture.shape[1] // picture.shape[2]
    drawn = [_box(box, size, height, "true") for box in true] + [_box(box, size, height, "said") for box in said]
    source = image(picture, "").split('"')[1]
    back = f'<image href="{source}" width="{SIDE}" height="{height}" style="image-rendering:pixelated"/>'
    inner = f"<title>{escape(alt)}</title>{back}{''.join(drawn)}"
    return f'<svg viewBox="0 0 {SIDE} {height}" role="img">{inner}</svg>'


def _box(box: Mapping[str, Any], size: Sequence[int], height: int, role: str) -> str:
    scale = (SIDE / size[1], height / size[0]) * 2
    x0, y0, x1, y1 = (float(box[corner]) * by for corner, by in zip(CORNERS, scale, strict=True))
    style = 'stroke="#59a14f" stroke-dasharray="7 5"' if role == "true" else 'stroke="#f28e2b"'
    place = f'x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}"'
    rect = f'<rect {place} fill="none" {style} stroke-width="4"/>'
    if role == "true":
        return rect
    words = f"{escape(str(box['class']))} {box['score']:.0%}"
    return f'{rect}<text x="{x0:.0f}" y="{max(14.0, y0 - 5):.0f}" fill="#f28e2b" font-size="17">{words}</text>'
