"""All answers in one picture: a confusion matrix, a forecast beside what came, or said against actual."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from stages.report.markup import note, paragraph
from stages.report.pictures import Line, chart

if TYPE_CHECKING:
    from stages.judging.scores import Evidence

MOST_CLASSES = 25  # a larger table cannot be read


def outcome(evidence: Evidence) -> tuple[str, str]:
    """The title of the section and its picture, by the kind of target."""
    kind = evidence.candidate.task.TARGET
    if kind == "category":
        return "Which class is taken for which", confusion(evidence)
    if kind == "series":
        return "What it said and what came", forecast(evidence)
    said = [answer["prediction"] for answer in evidence.candidate.answers()]
    cloud = Line("a test row", list(zip(evidence.truth(), said, strict=True)), "a", dots=True)
    name = evidence.model.spec.target_name
    drawn = chart([cloud], x=f"{name}, actual", y=f"{name}, said", height=440, diagonal=True)
    return "What it said and what it was", note("On the dashed line an answer is exact.") + drawn


def forecast_rows(evidence: Evidence) -> list[tuple[Any, float, float]]:
    """(time, actual, said) of each test row's first step ahead."""
    times = evidence.table["_time"].to_pylist() if "_time" in evidence.table.column_names else range(evidence.rows)
    said = [answer["prediction"][0] for answer in evidence.candidate.answers()]
    return [(time, actual[0], guess) for time, actual, guess in zip(times, evidence.truth(), said, strict=True)]


def forecast(evidence: Evidence) -> str:
    rows = forecast_rows(evidence)
    spec = evidence.model.spec
    numeric = isinstance(rows[0][0], int | float)
    when = [float(row[0]) if numeric else float(number) for number, row in enumerate(rows)]
    came = Line("what came", [(time, row[1]) for time, row in zip(when, rows, strict=True)], "b")
    said = Line("what it said, one step ahead", [(time, row[2]) for time, row in zip(when, rows, strict=True)], "a")
    return chart([came, said], x=str(spec.time) if numeric else "test row", y=spec.target_name, height=320)


def confusion(evidence: Evidence) -> str:
    """Rows are the actual class, columns the one it said; a shade is the share of its row."""
    classes = [str(value) for value in evidence.model.spec.target.state["values"][0]]
    if len(classes) > MOST_CLASSES:
        return paragraph(
            f"A table of {len(classes)} classes could not be read; plots/confusion.csv holds every answer."
        )
    counts = [[0] * len(classes) for _ in classes]
    for actual, answer in zip(evidence.truth(), evidence.candidate.answers(), strict=True):
        counts[classes.index(str(actual))][classes.index(str(answer["prediction"]))] += 1
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    lines = [
        f"<tr><th>{escape(name)}</th>{_cells(row, number)}</tr>"
        for number, (name, row) in enumerate(zip(classes, counts, strict=True))
    ]
    matrix = f'<div class="scroll"><table class="matrix"><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'
    return note("Each row is an actual class, each column what the model said.") + matrix


def _cells(row: Sequence[int], own: int) -> str:
    cells = []
    for column, count in enumerate(row):
        shade = 15 + 55 * count / max(1, sum(row))  # per cent; none is so faint as to be overlooked
        kind = "right" if column == own else "wrong"
        cells.append(f'<td class="{kind}" style="--much:{shade:.0f}%">{count}</td>' if count else "<td>·</td>")
    return "".join(cells)
