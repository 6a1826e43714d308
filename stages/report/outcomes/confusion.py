"""A confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from evergreen.stages.drawing.markup import note, paragraph

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "Which class is taken for which"
MOST_CLASSES = 25  # a larger table cannot be read


def draw(evidence: Evidence) -> str:
    """Rows are the actual class, columns the one it said; a shade is the share of its row."""
    classes = [str(value) for value in evidence.model.spec.target.state["values"][0]]
    if len(classes) > MOST_CLASSES:
        return paragraph(
            f"A table of {len(classes)} classes could not be read; plots/confusion.csv holds every answer."
        )
    counts = [[0] * len(classes) for _ in classes]
    for actual, answer in zip(evidence.truth(), evidence.candidate.answers(), strict=True):
        counts[classes.index(str(actual))][classes.index(str(answer["prediction"]))] += 1
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    lines = [
        f"<tr><th>{escape(name)}</th>{_cells(row, number)}</tr>"
        for number, (name, row) in enumerate(zip(classes, counts, strict=True))
    ]
    matrix = f'<div class="scroll"><table class="matrix"><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'
    return note("Each row is an actual class, each column what the model said.") + matrix


def _cells(row: Sequence[int], own: int) -> str:
    cells = []
    for column, count in enumerate(row):
        shade = 15 + 55 * count / max(1, sum(row))  # per cent; none is so faint as to be overlooked
        kind = "right" if column == own else "wrong"
        cells.append(f'<td class="{kind}" style="--much:{shade:.0f}%">{count}</td>' if count else "<td>·</td>")
    return "".join(cells)
