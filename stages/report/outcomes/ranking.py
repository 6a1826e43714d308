"""How soon the right item comes up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.stages.drawing.markup import note
from evergreen.stages.drawing.pictures import Line, chart

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence
    from evergreen.stages.validate.predictions import Scored

TITLE = "How soon the right item comes up"
FARTHEST = 50  # items down the list


def draw(evidence: Evidence) -> str:
    """The share of test rows whose item is among the first k, over k."""
    items = len(evidence.model.spec.target.state["values"][0])
    others = {"popularity": evidence.baseline, "the simple model": evidence.reference}
    lines = [Line("the candidate", _hits(evidence.candidate, items), "a")]
    shown = [(name, scored) for name, scored in others.items() if scored is not None]
    lines += [Line(name, _hits(scored, items), style) for (name, scored), style in zip(shown, "bc", strict=False)]
    said = f"Of {items:,} items; at 10 it is the hit rate of the ten that an answer lists."
    return note(said) + chart(lines, x="items shown, k", y="share found among them", height=320)


def _hits(scored: Scored, items: int) -> list[tuple[float, float]]:
    rank, _ = scored.metric_inputs
    return [(float(k), float((rank <= k).float().mean())) for k in range(1, min(FARTHEST, items) + 1)]
