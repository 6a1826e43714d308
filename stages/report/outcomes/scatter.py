"""Said against actual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.stages.drawing.markup import note
from evergreen.stages.drawing.pictures import Line, chart
from evergreen.stages.report.intervals import promise

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "What it said and what it was"


def draw(evidence: Evidence) -> str:
    said = [answer["prediction"] for answer in evidence.candidate.answers()]
    cloud = Line("a test row", list(zip(evidence.truth(), said, strict=True)), "a", dots=True)
    name = evidence.model.spec.target_name
    drawn = chart([cloud], x=f"{name}, actual", y=f"{name}, said", height=440, diagonal=True)
    return note("On the dashed line an answer is exact.") + promise(evidence) + drawn
