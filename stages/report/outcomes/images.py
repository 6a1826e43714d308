"""Images as they were given, as they were mended, and as they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evergreen.stages.drawing.markup import note
from evergreen.stages.drawing.pictures import image, number_text
from evergreen.stages.report import trios

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "What it makes of an image"


def draw(evidence: Evidence) -> str:
    rows = trios.chosen(evidence)
    columns = [evidence.candidate.output(rows).numpy(), evidence.candidate.target[rows].numpy()]
    if any(field.kind == "image" for field in evidence.model.spec.inputs.values()):
        columns.insert(0, trios.given(evidence, rows))
    names = ("given", "said", "true")[-len(columns) :]
    figures = []
    for number, row in enumerate(rows):
        low, high = float(columns[-1][number].min()), float(columns[-1][number].max())
        parts = [image(column[number].clip(low, high), name) for column, name in zip(columns, names, strict=True)]
        noise = -10 * math.log10(max(float(evidence.candidate.row_scores[row]), 1e-10))
        figures.append(trios.figure(parts, f"test row {row}, <b>{number_text(noise)} dB</b>"))
    about = f"Side by side: {', '.join(names)}; from the worst of all test rows to the best."
    return note(about) + trios.grid(figures)
