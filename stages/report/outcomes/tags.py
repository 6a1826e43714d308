"""How well each tag is found, and rows of words with theirs."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from evergreen.stages.drawing.markup import note, table
from evergreen.stages.drawing.pictures import number_text

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "Which tags are found"
SHOWN = 6


def draw(evidence: Evidence) -> str:
    counts, _ = evidence.candidate.metric_inputs  # (N, 1 + K, 3): right, said, there
    tags = evidence.model.spec.target.state["values"][0]
    lines = []
    for tag, (right, said, there) in zip(tags, counts.sum(0)[1:].tolist(), strict=True):
        shares = [
            number_text(part) for part in (right / (said or 1), right / (there or 1), 2 * right / (said + there or 1))
        ]
        lines.append([tag, f"{there:,.0f}", *shares])
    return table(["tag", "words", "precision", "recall", "F1"], lines) + _rows(evidence)


def _rows(evidence: Evidence) -> str:
    """The worst row, the best, and some between."""
    words = next((name for name, field in evidence.model.spec.inputs.items() if field.state.get("listed")), "")
    if not words:
        return ""
    order = np.argsort(-evidence.candidate.row_scores, kind="stable")
    rows = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int)].tolist()
    truth, answers, texts = evidence.truth(), evidence.candidate.answers(), evidence.table[words].to_pylist()
    parts = [f"<figure>{tagged(texts[row], answers[row]['prediction'], truth[row])}</figure>" for row in rows]
    about = "From the worst row to the best; struck out is what it said and should not have, underlined what is right."
    return note(about) + "".join(parts)


def tagged(words: list[str], said: list[str], true: list[str]) -> str:
    """Each word with its tag, those outside of anything bare."""
    parts = []
    for word, mine, right in zip(words, said, true, strict=False):
        tag = (
            ""
            if mine == right == "O"
            else escape(right)
            if mine == right
            else f"<del>{escape(mine)}</del> <ins>{escape(right)}</ins>"
        )
        parts.append(f"<b>{escape(word)}</b><sub>{tag}</sub>" if tag else escape(word))
    return " ".join(parts)
