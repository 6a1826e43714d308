"""Marks are drawn completely, escaped, and the same again; nothing constant or not a number breaks a picture."""

import io
import math
import re
import struct
import zlib
from base64 import b64decode
from dataclasses import fields

import numpy as np
import PIL.Image
import pytest

from evergreen.core import marks
from evergreen.core.marks import Chart, Dot, DotPlot, Line
from evergreen.core.png import mask_png, png
from evergreen.pages.charts.overlays import COLORS, color_mask
from evergreen.pages.charts.svg import Axis
from evergreen.pages.layout import DRAWINGS, draw
from evergreen.pages.version import templates_version
from evergreen.pages.wording import number_text

EVIL = '<b onload="x">'
NAN = float("nan")
PNG = png(np.array([[[0.0, 0.5], [1.0, -1.0]]]))


def test_an_image_is_a_png_of_its_values():
    data = b64decode(PNG)
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (2, 2)
    length = struct.unpack(">I", data[33:37])[0]
    assert zlib.decompress(data[41 : 41 + length]) == b"\0\x80\xbf\0\xff\0"
    assert 'alt="a &#34;b&#34;"' in draw(marks.Image(PNG, 'a "b"').to_json())


def test_a_mask_is_colored_by_class_and_black_where_there_is_none():
    mask = mask_png(np.array([[-1, 0], [1, 2]]))
    image = PIL.Image.open(io.BytesIO(b64decode(color_mask(mask)))).convert("RGBA")
    pixels = [image.getpixel((x, y)) for y in (0, 1) for x in (0, 1)]
    assert pixels[0] == (0, 0, 0, 255)
    assert pixels[1][3] == 0
    assert ["#" + bytes(pixel[:3]).hex() for pixel in pixels[2:]] == list(COLORS[:2])


def test_pictures_bear_nothing_constant_and_not_a_number():
    assert not draw(Chart([], "x", "y").to_json()).strip()
    assert not draw(Chart([Line("a", [(0.0, NAN)])], "x", "y").to_json()).strip()
    some = Chart([Line("a", [(1.0, 2.0), (2.0, 2.0), (3.0, float("inf"))])], "x", "y")
    assert not re.search("nan|inf", draw(some.to_json()))
    assert not draw(DotPlot([Dot("a", NAN)], "x").to_json()).strip()
    assert draw(DotPlot([Dot("a", 0.0, 0.0, 0.0)], "x").to_json()).count("<circle") == 1
    axis = Axis.around([0.0, 100.0], 0, 10)
    assert [axis.label(tick) for tick in axis.ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [number_text(value) for value in (0.98634, 0.99993, 1.0, 1234.5, -0.5, 0.00001, None)] == [
        "0.986", "0.9999", "1.000", "1,234", "−0.500", "1.00e−05", "—",
    ]  # fmt: skip


STYLES = ("", "strong", "soft", "code", "tag", "marked", "deleted", "inserted")
EXAMPLES = [
    marks.Text(f"`{EVIL}` and {EVIL}"),
    marks.Link(EVIL, "x.html"),
    marks.StyledText([(EVIL, style) for style in STYLES]),
    marks.Table([EVIL, "n"], [[EVIL, 1], ["b", 2.5], ["c", None]], best=0),
    marks.Values({EVIL: EVIL}),
    marks.Fold(EVIL, [marks.Items([[marks.Text(EVIL)]])]),
    marks.Matrix([EVIL, "b"], [[1, 2], [0, 4]]),
    Chart([Line(EVIL, [(0, 0), (1, 1)], dots=True), Line("b", [(0, 1), (1, 1)], "band")], EVIL, EVIL, True, 0.5),
    DotPlot([Dot(EVIL, 1.0, 0.5, 2.0, "a")], EVIL),
    marks.Histogram([[0.5, 0.5], [0.0, 1.0]], EVIL, "b", EVIL),
    marks.Bars({EVIL: [0.5, 0.25, 0.0]}, EVIL),
    marks.SideLegend([EVIL, "b"]),
    marks.ParallelLines([EVIL, "b"], [[0.0, 1.0], [None, 0.5]], [EVIL, "0"], ["1", EVIL], [0], EVIL),
    marks.Sparkline([1.0, 2.0, 2.0], [3.0], [2.5]),
    marks.Graph(2, [(0, 1)], True, EVIL),
    marks.Image(PNG, EVIL),
    marks.MaskedImage(PNG, mask_png(np.array([[-1, 0], [1, 2]])), EVIL),
    marks.ClassColors([EVIL, EVIL]),
    marks.BoxedImage(
        PNG, (2, 2), [{"x0": 0, "y0": 0, "x1": 1, "y1": 1}],
        [{"x0": 0, "y0": 0, "x1": 1, "y1": 1, "class": EVIL, "score": 0.5}], EVIL,
    ),
    marks.Gallery([marks.Figure([marks.Image(PNG), marks.Image(PNG)], {EVIL: EVIL}, EVIL, True)], columns=2),
]  # fmt: skip


@pytest.mark.parametrize("mark", EXAMPLES, ids=lambda mark: type(mark).__name__)
def test_a_mark_is_drawn_escaped_and_the_same_again(mark):
    drawn = draw(mark.to_json())
    assert drawn.strip()
    assert EVIL not in drawn
    assert drawn == draw(mark.to_json())


def test_every_mark_has_an_example_and_its_drawing():
    def names(mark) -> set[str]:
        inner = [getattr(mark, part.name) for part in fields(mark)]
        flat = [item for value in inner if isinstance(value, list) for item in value]
        flat += [item for value in flat if isinstance(value, list) for item in value]
        return {type(mark).__name__}.union(*(names(item) for item in flat if isinstance(item, marks.Mark)))

    known = {item.__name__ for item in vars(marks).values() if isinstance(item, type) and issubclass(item, marks.Mark)}
    assert set().union(*map(names, EXAMPLES)) == known - {"Mark", "Section"}
    assert set(DRAWINGS) <= known


def test_what_is_not_finite_is_stored_as_nothing():
    stored = Chart([Line("a", [(0.0, NAN), (1.0, math.inf)])], "x", "y").to_json()
    assert stored["lines"][0]["points"] == [[0.0, None], [1.0, None]]


def test_the_templates_version_follows_every_template(tmp_path, monkeypatch):
    from evergreen.pages import version

    for path in version.TEMPLATES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = templates_version()
    monkeypatch.setattr(version, "TEMPLATES", tmp_path)
    assert templates_version() == before
    (tmp_path / "style.css").write_text("body { color: red }")
    assert templates_version() != before
