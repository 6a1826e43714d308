"""Draw what lies over an image: the classes of its pixels, the boxes around its things."""

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from evergreen.core.png import png_chunk
from evergreen.pages.charts.svg import svg, text

COLORS = ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac")
SIDE = 320  # units of a drawing's width
ALPHA = 178  # of a class's color, of 255
CORNERS = ("x0", "y0", "x1", "y1")
HEADER = slice(8, 33)  # of a PNG file: the chunk that says its size and kind of pixels
Json = Mapping[str, Any]


def class_color(index: int) -> str:
    """Return the color of class `index`, 1 or more: class 0 is left as the image has it."""
    return COLORS[(index - 1) % len(COLORS)]


def color_mask(png: str) -> str:
    """Give the grey pixels of a mask, 0 for unlabelled and k + 1 for class k, their colors: a palette is put in."""
    data = base64.b64decode(png)
    width, height = struct.unpack(">II", data[16:24])
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
    colors = b"".join(bytes.fromhex(class_color(index)[1:]) for index in range(1, 255))
    palette = png_chunk(b"PLTE", bytes(6) + colors)  # unlabelled pixels are black, those of class 0 transparent
    alpha = png_chunk(b"tRNS", bytes([255, 0]) + bytes([ALPHA]) * 254)
    return base64.b64encode(data[: HEADER.start] + header + palette + alpha + data[HEADER.stop :]).decode()


def boxed_image(mark: Json) -> str:
    """Draw boxes over an image: the actual ones dashed, the predicted ones whole with how sure the model is."""
    width, height = struct.unpack(">II", base64.b64decode(mark["png"][:32])[16:24])
    height = SIDE * height // width
    source = f"data:image/png;base64,{mark['png']}"
    parts = [f'<image href="{source}" width="{SIDE}" height="{height}" style="image-rendering:pixelated"/>']
    parts += [_box(box, mark["size"], height, 'stroke="#59a14f" stroke-dasharray="7 5"') for box in mark["actual"]]
    for box in mark["predicted"]:
        parts.append(_box(box, mark["size"], height, 'stroke="#f28e2b"', f"{box['class']} {box['score']:.0%}"))
    return svg(parts, "boxes", SIDE, height, mark["title"])


def _box(box: Json, size: Sequence[int], height: int, style: str, words: str = "") -> str:
    scale = (SIDE / size[1], height / size[0]) * 2
    x0, y0, x1, y1 = (float(box[corner]) * by for corner, by in zip(CORNERS, scale, strict=True))
    place = f'x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}"'
    rect = f'<rect {place} fill="none" {style} stroke-width="4"/>'
    return rect + (text(x0, max(14.0, y0 - 5), words, "start", "score") if words else "")
