"""Images with the true boxes and those that were said."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from stages.drawing.markup import note
from stages.drawing.pictures import image, number_text
from stages.report import trios

if TYPE_CHECKING:
    from stages.judging.scores import Evidence

TITLE = "Where it sees what"
SIDE = 320  # units of the drawing's width
CORNERS = ("x0", "y0", "x1", "y1")


def draw(evidence: Evidence) -> str:
    from data import kinds

    field, rows = evidence.model.spec.target, trios.chosen(evidence)
    answers = evidence.candidate.answers(rows)
    truth = kinds.find("boxes").decode(field, evidence.candidate.target[rows].numpy())
    figures = []
    for number, (row, picture) in enumerate(zip(rows, trios.given(evidence, rows), strict=True)):
        height = SIDE * picture.shape[1] // picture.shape[2]
        drawn = [_box(box, field.state["size"], height, "true") for box in truth[number]]
        drawn += [_box(box, field.state["size"], height, "said") for box in answers[number]["prediction"]]
        source = image(picture, "").split('"')[1]
        back = f'<image href="{source}" width="{SIDE}" height="{height}" style="image-rendering:pixelated"/>'
        svg = f'<svg viewBox="0 0 {SIDE} {height}" role="img"><title>test row {row}</title>{back}{"".join(drawn)}</svg>'
        score = number_text(float(evidence.candidate.per_row[row]))
        figures.append(f"<figure>{svg}test row {row}, F1 <b>{score}</b></figure>")
    about = "Dashed boxes are true, whole ones were said, with how sure it was; from the worst row to the best."
    return note(about) + f'<div class="wrong-ones">{"".join(figures)}</div>'


def _box(box: dict[str, Any], size: list[int], height: int, role: str) -> str:
    scale = (SIDE / size[1], height / size[0]) * 2
    x0, y0, x1, y1 = (float(box[corner]) * by for corner, by in zip(CORNERS, scale, strict=True))
    style = 'stroke="#59a14f" stroke-dasharray="7 5"' if role == "true" else 'stroke="#f28e2b"'
    place = f'x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}"'
    rect = f'<rect {place} fill="none" {style} stroke-width="4"/>'
    if role == "true":
        return rect
    words = f"{escape(str(box['class']))} {box['score']:.0%}"
    return f'{rect}<text x="{x0:.0f}" y="{max(14.0, y0 - 5):.0f}" fill="#f28e2b" font-size="17">{words}</text>'
