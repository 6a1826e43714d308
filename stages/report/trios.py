"""Test rows with an image, from the one answered worst to the one answered best, three pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

SHOWN = 12
Array = np.ndarray[Any, Any]


def chosen(evidence: Evidence) -> list[int]:
    """Rows at even distances in the order of how well they are answered, the worst first."""
    scores = evidence.candidate.row_scores
    order = np.argsort(scores if evidence.candidate.task.ROW_SCORE_GOAL == "max" else -scores, kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))
    return [int(row) for row in order[places]]


def given(evidence: Evidence, rows: Sequence[int]) -> Array:
    """(N, C, H, W) the first image that these rows were answered from."""
    spec = evidence.model.spec
    name = next(name for name, field in spec.inputs.items() if field.kind == "image")
    images: Array = spec.encode(evidence.table.take(list(rows)), target=False)[name]
    return images


def figure(pictures: Sequence[str], text: str) -> str:
    """`text` is HTML."""
    return f'<figure><div class="trio">{"".join(pictures)}</div>{text}</figure>'


def grid(figures: Sequence[str]) -> str:
    return f'<div class="wrong-ones wide">{"".join(figures)}</div>'
