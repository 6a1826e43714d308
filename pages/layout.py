"""Render a page: self-contained HTML, no script, nothing from a network, the same bytes for the same content."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from evergreen.core.marks import Section, StyledText
from evergreen.pages.charts import graph_drawing, histograms, overlays, parallel, svg
from evergreen.pages.version import TEMPLATES
from evergreen.pages.wording import number_text

DRAWINGS = {
    "Chart": svg.chart,
    "DotPlot": svg.dot_plot,
    "Sparkline": svg.sparkline,
    "ParallelLines": parallel.parallel,
    "Histogram": histograms.histogram,
    "Bars": histograms.bars,
    "Graph": graph_drawing.graph,
    "BoxedImage": overlays.boxed_image,
}
ICONS = {"release": "M14 23l6 6 12-13", "keep": "M16 16l14 14M30 16L16 30", "wait": "M23 13v13M23 32v1"}
Json = Mapping[str, Any]


def render(
    title: str,
    *,
    lead: StyledText,
    verdict: tuple[str, str, str],  # a style of ICONS, a headline, a reason
    cards: Iterable[tuple[str, str, Sequence[str]]],  # a name, a value, further lines
    sections: Iterable[Section | Json],
    footer: str,
    heading: str = "",
) -> str:
    """Return the whole page; sections in which nothing is to be seen are left out."""
    parts = [section.to_json() if isinstance(section, Section) else section for section in sections]
    drawn = [(part["title"], Markup("").join(map(draw, part["marks"]))) for part in parts]
    style, head, why = verdict
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            heading=heading or title,
            lead=lead.to_json(),
            verdict={"style": style, "head": head, "why": why, "icon": ICONS[style]},
            cards=cards,
            sections=[(name, body) for name, body in drawn if body.strip()],
            footer=footer,
        )
    )


def draw(mark: Json) -> Markup:
    """Return the HTML of a mark as stored."""
    if drawing := DRAWINGS.get(mark["mark"]):
        mark = {**mark, "svg": Markup(drawing(mark))}  # drawings escape the text that they are given
    return Markup(getattr(_environment().get_template("marks.html").module, mark["mark"])(mark))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"code": _code, "cell": _cell, "is_number": _is_number}
    environment.globals |= {"draw": draw, "class_color": overlays.class_color, "color_mask": overlays.color_mask}
    return environment


def _code(text: str) -> Markup:
    """Set text between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # escaped before


def _cell(value: Any) -> str:
    if isinstance(value, float) or value is None:
        return number_text(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(value: Any) -> bool:
    """Tell whether a cell is set as a number: to the right, and on one line."""
    return not isinstance(value, str) or bool(re.fullmatch(r"[−–—<>~\-]?\s?[\d—–].{0,24}|", value))
