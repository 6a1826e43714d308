"""Texts that were said beside those that are right, with the differences marked."""

from __future__ import annotations

from difflib import SequenceMatcher
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.stages.drawing.markup import note

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "What it said and what it is"
SHOWN = 8
LONGEST = 400  # characters of a text


def draw(evidence: Evidence) -> str:
    """Rows from best to worst, evenly."""
    scores = evidence.candidate.row_scores
    order = np.argsort(-scores if evidence.candidate.task.ROW_SCORE_GOAL == "max" else scores, kind="stable")
    rows = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int)].tolist()
    if evidence.candidate.task.TARGET_IS_INPUT:
        about = (
            "Read from left to right: what is marked it would not have written there. From the best row to the worst."
        )
        return note(about) + "".join(f"<figure>{_foretold(evidence, row)}</figure>" for row in rows)
    truth, answers = evidence.truth(), evidence.candidate.answers(rows)
    inputs = evidence.table.select(list(evidence.model.spec.columns)).take(rows).to_pylist()
    about = "Struck out is what it said and should not have, underlined what it should have said."
    parts = [
        f"<figure>{_asked(record)}<p>{compared(_line(answer['prediction']), _line(truth[row]))}</p></figure>"
        for row, record, answer in zip(rows, inputs, answers, strict=True)
    ]
    return note(about) + "".join(parts)


def compared(said: str, true: str) -> str:
    """HTML of both in one: what was said in vain struck out, what was not said underlined."""
    said, true = said[:LONGEST], true[:LONGEST]
    parts = []
    for step, a, b, c, d in SequenceMatcher(None, said, true, autojunk=False).get_opcodes():
        if step == "equal":
            parts.append(escape(said[a:b]))
        else:
            parts.append(f"<del>{escape(said[a:b])}</del>" * (b > a) + f"<ins>{escape(true[c:d])}</ins>" * (d > c))
    return "".join(parts)


def _foretold(evidence: Evidence, row: int) -> str:
    """The row's text, its tokens marked where another was likelier."""
    from evergreen.data import kinds

    field = evidence.model.spec.target
    target = evidence.candidate.target[row]
    right = (evidence.candidate.output([row])[0, : len(target)].argmax(1) == target).tolist()
    parts = []
    for good, token in zip(right, target[:LONGEST].tolist(), strict=False):
        written = escape(_line(kinds.kind_of(field).decode(field, np.array([[token]]))[0])).replace("\n", "<br>")
        parts.append(written if good or not written else f"<mark>{written}</mark>")
    return (" " if field.state["unit"] == "word" else "").join(parts)


def _asked(record: dict[str, Any]) -> str:
    return "".join(f'<div class="soft">{escape(_line(value)[:LONGEST])}</div>' for value in record.values())


def _line(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
