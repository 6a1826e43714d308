"""Show the test rows with the worst predictions, drawn by their kinds."""

from typing import Any

import numpy as np

from evergreen.core.marks import (
    BoxedImage,
    Figure,
    Fold,
    Gallery,
    Graph,
    Image,
    Mark,
    MaskedImage,
    Section,
    Sparkline,
    Text,
    Values,
)
from evergreen.stages.validate.evaluated_rows import ShownRows
from evergreen.stages.validate.evidence import Evidence

SHOWN = 12
LONGEST = 60  # characters of a value
TITLE = "Where it is wrong"


def worst_rows(evidence: Evidence, shown: ShownRows) -> Section | None:
    """Draw the most confident wrong predictions, or the rows with the largest error."""
    if evidence.candidate.task.GENERATED_INPUTS:
        return None  # what is drawn from a seed cannot be wrong
    rows = find_worst(evidence)
    if not len(rows):
        return Section(TITLE, [Text(f"Nowhere: all {evidence.rows:,} test rows are predicted rightly.")])
    chosen = rows.tolist()
    answers, values = evidence.candidate.answers(rows), shown.values(chosen)
    inputs = shown.inputs(chosen)
    targets = shown.targets(chosen, [answer["prediction"] for answer in answers])
    origins = evidence.table["_origin"].take(chosen).to_pylist() if "_origin" in evidence.table.column_names else []
    figures = []
    for number, (row, answer) in enumerate(zip(chosen, answers, strict=True)):
        marks = _picture(inputs[number], targets[number], values[number])
        origin = str(origins[number] or "") if origins else ""
        figures.append(Figure(marks, labels(answer, shown.truth[row]), origin))
    small = isinstance(figures[0].marks[0], Image | Graph)
    return Section(TITLE, [Text(_intro(evidence, len(chosen)), note=True), Gallery(figures, wide=not small)])


def find_worst(evidence: Evidence) -> np.ndarray[Any, Any]:
    """Return the numbers of the test rows to show, the worst first."""
    scores, hits = evidence.candidate.row_scores, evidence.candidate.hits
    if hits is None:
        badness = -scores if evidence.candidate.task.ROW_SCORE_GOAL == "max" else scores
        return np.argsort(-badness, kind="stable")[:SHOWN]
    sure = [max(answer.get("probabilities", {"": 1.0}).values()) for answer in evidence.candidate.answers()]
    wrong = np.flatnonzero(hits == 0)
    return wrong[np.argsort(-np.asarray(sure)[wrong], kind="stable")][:SHOWN]


def labels(answer: dict[str, Any], actual: Any) -> dict[str, Any]:
    """Return short texts of the predicted and the actual value; none where only a picture can show them."""
    predicted = answer.get("prediction")
    if isinstance(predicted, list):
        if any(isinstance(value, list | dict) for value in predicted):
            return {}
        if not isinstance(actual, list):  # a vector: what is near to it says more
            return {"actual": str(actual)[:LONGEST]}
        return {"predicted": _short(predicted), "actual": _short(actual)}
    if not isinstance(predicted, int | float | str):
        return {}
    sure = f" ({max(answer['probabilities'].values()):.0%} sure)" if "probabilities" in answer else ""
    if sure or not isinstance(predicted, float):
        return {"predicted": f"{predicted}"[:LONGEST] + sure, "actual": f"{actual}"[:LONGEST]}
    return {"predicted": predicted, "actual": actual}


def _picture(inputs: list[Mark], target: Mark | None, values: dict[str, Any]) -> list[Mark]:
    if isinstance(target, Sparkline | BoxedImage | MaskedImage):
        return [target]
    if inputs:
        return inputs[:1]
    shown = {name: value if isinstance(value, int | float) else str(value)[:LONGEST] for name, value in values.items()}
    return [Fold(f"the row's {len(values)} values", [Values(shown)])]


def _intro(evidence: Evidence, shown: int) -> str:
    if evidence.candidate.hits is None:
        what = "lowest score" if evidence.candidate.task.ROW_SCORE_GOAL == "max" else "largest error"
        return f"The {shown} test rows with the {what}."
    wrong = int((evidence.candidate.hits == 0).sum())
    which = f"the {shown} it was surest of" if shown < wrong else "the surest first"
    return f"{wrong:,} of {evidence.rows:,} test rows are predicted wrongly; {which}."


def _short(values: list[Any]) -> str:
    shown = ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values[:3])
    return shown + (", …" if len(values) > 3 else "") if values else "none"
