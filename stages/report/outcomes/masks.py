"""Images, their true masks and those that were said."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from evergreen.stages.drawing.markup import note
from evergreen.stages.drawing.over import COLOURS, tinted
from evergreen.stages.drawing.pictures import image, number_text
from evergreen.stages.report import trios

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "Which pixels it takes for what"


def draw(evidence: Evidence) -> str:
    """The first class is left as the image has it; each other one is tinted."""
    task: Any = evidence.candidate.task
    rows = trios.chosen(evidence)
    said = evidence.candidate.output(rows).argmax(1).numpy()
    true = evidence.candidate.target[rows].numpy()
    figures = []
    for number, (row, picture) in enumerate(zip(rows, trios.given(evidence, rows), strict=True)):
        parts = [image(picture, f"test row {row}")]
        parts += [
            image(tinted(picture, mask), alt) for mask, alt in ((true[number], "the true mask"), (said[number], "said"))
        ]
        score = number_text(float(evidence.candidate.row_scores[row]))
        figures.append(trios.figure(parts, f"test row {row}, intersection over union <b>{score}</b>"))
    key = "".join(
        f'<span style="color:{COLOURS[(place - 1) % len(COLOURS)]}">■</span> {escape(str(name))} '
        for place, name in enumerate(task.classes)
        if place
    )
    about = "The image, the true mask, what was said; from the worst of all test rows to the best. Classes: "
    return note(about) + f"<p>{key}</p>" + trios.grid(figures)
