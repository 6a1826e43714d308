"""Images, their true masks and those that were said."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.drawing.markup import note
from stages.drawing.pictures import image, number_text
from stages.report import trios

if TYPE_CHECKING:
    from stages.judging.scores import Evidence

TITLE = "Which pixels it takes for what"
COLOURS = ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac")
Array = np.ndarray[Any, Any]


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
        score = number_text(float(evidence.candidate.per_row[row]))
        figures.append(trios.figure(parts, f"test row {row}, intersection over union <b>{score}</b>"))
    key = "".join(
        f'<span style="color:{COLOURS[(place - 1) % len(COLOURS)]}">■</span> {escape(str(name))} '
        for place, name in enumerate(task.classes)
        if place
    )
    about = "The image, the true mask, what was said; from the worst of all test rows to the best. Classes: "
    return note(about) + f"<p>{key}</p>" + trios.grid(figures)


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
