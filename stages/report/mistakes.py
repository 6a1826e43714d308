"""Examples that a model gets most wrong, drawn as what they are: images, graphs, stretches of a series, fields."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.stages.drawing.graphs import graph
from evergreen.stages.drawing.pictures import image, number_text, spark

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

SHOWN = 12


def mistakes(evidence: Evidence) -> str:
    """The wrong answers it was surest of, or the rows with the largest error."""
    from evergreen.data.prepare.windows import own_history

    rows = worst(evidence)
    if not len(rows):
        return f"<p>Nowhere: all {evidence.rows:,} test rows are answered rightly.</p>"
    answers, truth = evidence.candidate.answers(rows), evidence.truth()
    captions = [caption(answer, truth[row]) for answer, row in zip(answers, rows, strict=True)]
    kinds = evidence.model.spec.inputs
    images = [name for name, field in kinds.items() if field.kind == "image"]
    graphs = [name for name, field in kinds.items() if field.kind == "graph"]
    if evidence.model.spec.target.kind == "image" and not images:
        return ""  # a sample is no answer that could be wrong
    windows = any(field.kind == "series" for field in kinds.values())
    table = evidence.table.take(rows)
    if images:
        arrays = evidence.model.spec.encode(table, target=False)[images[0]]
        drawn = [image(array, f"test row {row}") for array, row in zip(arrays, rows, strict=True)]
    elif graphs:
        field, arrays = kinds[graphs[0]], evidence.model.spec.encode(table, target=False)[graphs[0]]
        drawn = [graph(array, field.state, f"test row {row}") for array, row in zip(arrays, rows, strict=True)]
    elif windows and evidence.model.spec.target.kind == "series":
        histories = own_history(table).tolist()
        said = [answer["prediction"] for answer in answers]
        drawn = [spark(past, truth[row], to) for past, row, to in zip(histories, rows, said, strict=True)]
    else:
        drawn = [_fields(evidence, record) for record in table.to_pylist()]
    figures = [
        f"<figure>{art}{text}{_origin(record)}</figure>"
        for art, text, record in zip(drawn, captions, table.to_pylist(), strict=True)
    ]
    wide = "" if images or graphs else " wide"
    return f'{_intro(evidence, len(rows))}<div class="wrong-ones{wide}">{"".join(figures)}</div>'


def worst(evidence: Evidence) -> np.ndarray[Any, Any]:
    """Numbers of the test rows to show, the worst first."""
    scores = evidence.candidate.row_scores
    if not evidence.candidate.right_or_wrong:
        badness = -scores if evidence.candidate.task.ROW_SCORE_GOAL == "max" else scores
        return np.argsort(-badness, kind="stable")[:SHOWN]
    sure = [max(answer.get("probabilities", {"": 1.0}).values()) for answer in evidence.candidate.answers()]
    wrong = np.flatnonzero(scores == 0)
    return wrong[np.argsort(-np.asarray(sure)[wrong], kind="stable")][:SHOWN]


def caption(answer: dict[str, Any], truth: Any) -> str:
    said = answer.get("prediction")
    if isinstance(said, str | bool) and "probabilities" not in answer:
        return f"said <b>{escape(_plain(said))}</b>, is <b>{escape(_plain(truth))}</b>"
    if not isinstance(said, int | float | str | bool | list) or (isinstance(said, list) and not _numbers(said)):
        return ""  # its picture above says it: no words could
    if "probabilities" in answer:
        sure = max(answer["probabilities"].values())
        return f"said <b>{escape(str(said))}</b> ({sure:.0%} sure), is <b>{escape(str(truth))}</b>"
    if isinstance(said, list) and not isinstance(truth, list):
        return f"is <b>{escape(_plain(truth))}</b>"  # a vector: what is near to it says more
    if isinstance(said, list):
        return f"said <b>{_list(said)}</b>, came <b>{_list(truth)}</b>"
    return f"said <b>{number_text(float(said))}</b>, is <b>{number_text(truth)}</b>"


def _intro(evidence: Evidence, shown: int) -> str:
    if not evidence.candidate.right_or_wrong:
        what = "lowest score" if evidence.candidate.task.ROW_SCORE_GOAL == "max" else "largest error"
        return f'<p class="soft">The {shown} test rows with the {what}.</p>'
    wrong = int((evidence.candidate.row_scores == 0).sum())
    of = f"the {shown} it was surest of" if shown < wrong else "the surest first"
    return f'<p class="soft">{wrong:,} of {evidence.rows:,} test rows are answered wrongly; {of}.</p>'


def _fields(evidence: Evidence, record: dict[str, Any]) -> str:
    columns = evidence.model.spec.columns
    parts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(_plain(record[name]))}</dd>" for name in columns)
    return f"<details><summary>the row's {len(columns)} values</summary><dl>{parts}</dl></details>"


def _origin(record: dict[str, Any]) -> str:
    return f'<div class="soft"><code>{escape(str(record["_origin"]))}</code></div>' if record.get("_origin") else ""


def _numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _plain(value: Any) -> str:
    return number_text(value) if isinstance(value, float) else str(value)[:60]


def _list(values: list[float]) -> str:
    shown = ", ".join(number_text(value) for value in values[:3])
    return shown + (", …" if len(values) > 3 else "")
