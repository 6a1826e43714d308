"""Images with the true boxes and those that were said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.stages.drawing.markup import note
from evergreen.stages.drawing.over import boxed
from evergreen.stages.drawing.pictures import number_text
from evergreen.stages.report import trios

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "Where it sees what"


def draw(evidence: Evidence) -> str:
    from evergreen.data import kinds

    field, rows = evidence.model.spec.target, trios.chosen(evidence)
    answers = evidence.candidate.answers(rows)
    truth = kinds.find("boxes").decode(field, evidence.candidate.target[rows].numpy())
    figures = []
    for number, (row, picture) in enumerate(zip(rows, trios.given(evidence, rows), strict=True)):
        svg = boxed(picture, field.state["size"], truth[number], answers[number]["prediction"], f"test row {row}")
        score = number_text(float(evidence.candidate.row_scores[row]))
        figures.append(f"<figure>{svg}test row {row}, F1 <b>{score}</b></figure>")
    about = "Dashed boxes are true, whole ones were said, with how sure it was; from the worst row to the best."
    return note(about) + f'<div class="wrong-ones">{"".join(figures)}</div>'
