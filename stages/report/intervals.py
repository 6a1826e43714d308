"""Whether the intervals of a model's answers keep what they promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evergreen.stages.drawing.markup import note

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence


def promise(evidence: Evidence) -> str:
    """How much of what came lies in the intervals, beside what was promised; nothing where there are none."""
    if "low" not in evidence.candidate.answers([0])[0]:
        return ""
    answers = evidence.candidate.answers()
    inside = [
        low <= came <= high
        for answer, row in zip(answers, evidence.truth(), strict=True)
        for low, came, high in zip(*map(_list, (answer["low"], row, answer["high"])), strict=True)
    ]
    share, promised = sum(inside) / len(inside), evidence.candidate.task.coverage
    said = f"{share:.0%} of the {len(inside):,} values lie in their interval"
    return note(f"{said}, where {promised:.0%} were promised.")


def _list(value: Any) -> list[float]:
    return value if isinstance(value, list) else [value]
