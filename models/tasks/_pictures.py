"""Pictures that several tasks share, as data."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from torch import Tensor

from evergreen.core.marks import Figure, Gallery, Line, Mark, Section, StyledText, Text
from evergreen.models.base import EvaluatedRows

SHOWN, TEXTS = 12, 8  # rows with an image, rows of text
LONGEST = 400  # characters of a text
MAX_POINTS = 2_000  # of a cloud or a curve: more cannot be told apart
MAX_CLASSES = 25  # a larger table cannot be read
ORDER = "from the worst of all test rows to the best."


def row_label(row: int, name: str, value: Any) -> dict[str, Any]:
    """Return the caption of a test row: its number and one score."""
    return {"test row": str(row), name: value}


def coverage(answers: Sequence[dict[str, Any]], truth: Sequence[Any], promised: float) -> list[Mark]:
    """Say how much of what came lies in the intervals that were answered; nothing where there are none."""
    if "low" not in answers[0]:
        return []
    triples = zip(answers, truth, strict=True)
    inside = [
        low <= value <= high
        for answer, actual in triples
        for low, value, high in zip(*map(_listed, (answer["low"], actual, answer["high"])), strict=True)
    ]
    share = f"{sum(inside) / len(inside):.0%} of the {len(inside):,} values lie in their interval"
    return [Text(f"{share}, where {promised:.0%} were promised.", note=True)]


def steps(name: str, counts: Tensor, edges: Sequence[float], style: str) -> Line:
    """Return a histogram's outline: `counts` (N,) become shares between `edges` (N + 1)."""
    shares = (counts / counts.sum().clamp_min(1)).tolist()
    points = [(edge, share) for pair, share in zip(pairwise(edges), shares, strict=True) for edge in pair]
    return Line(name, points, style)


def text_diffs(title: str, rows: EvaluatedRows) -> Section:
    """Show predicted texts beside the actual ones, with the differences marked."""
    chosen = rows.spread(TEXTS)
    figures = []
    for row, answer, values in zip(chosen, rows.answers(chosen), rows.values(chosen), strict=True):
        question = StyledText([(joined(value)[:LONGEST] + " ", "soft") for value in values.values()])
        figures.append(Figure([question, StyledText(diff(joined(answer["prediction"]), joined(rows.truth[row])))]))
    about = "Struck out is what it predicted and should not have, underlined what is missing; " + ORDER
    return Section(title, [Text(about, note=True), Gallery(figures, wide=True)])


def diff(predicted: str, actual: str) -> list[tuple[str, str]]:
    """Return both texts in one, as pieces of a StyledText."""
    predicted, actual = predicted[:LONGEST], actual[:LONGEST]
    pieces = []
    for step, a, b, c, d in SequenceMatcher(None, predicted, actual, autojunk=False).get_opcodes():
        parts = [(predicted[a:b], "")] if step == "equal" else [(predicted[a:b], "deleted"), (actual[c:d], "inserted")]
        pieces += [part for part in parts if part[0]]
    return pieces


def joined(value: str | Sequence[str]) -> str:
    """Return a text, or a list of words as one."""
    return value if isinstance(value, str) else " ".join(map(str, value))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
