"""How well each of many labels is found."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from evergreen.stages.drawing.markup import note

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "How well each label is found"
COLUMNS = ("rows that have it", "said", "of those rightly", "of those that have it, found")


def draw(evidence: Evidence) -> str:
    """A line for each label, the commonest first."""
    names = [str(value) for value in evidence.model.spec.target.state["values"][0]]
    has, said = evidence.candidate.target > 0, evidence.candidate.output() > 0
    counts = zip(*(found.sum(0).tolist() for found in (has, said, has & said)), strict=True)
    lines = [
        f"<tr><th>{escape(name)}</th><td>{there}</td><td>{claimed}</td>"
        f"<td>{_share(right, claimed)}</td><td>{_share(right, there)}</td></tr>"
        for name, (there, claimed, right) in sorted(zip(names, counts, strict=True), key=lambda line: -line[1][0])
    ]
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    table = f'<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'
    return note("A label is said where its probability is above a half.") + table


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"
