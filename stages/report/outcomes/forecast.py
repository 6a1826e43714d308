"""A forecast beside what came, with the interval in which it was to lie."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from evergreen.stages.drawing.markup import paragraph
from evergreen.stages.drawing.pictures import Line, chart
from evergreen.stages.report.intervals import promise

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "What it said and what came"
MOST_SERIES = 6  # more charts are not looked at
HEIGHT = 300


def forecast_rows(evidence: Evidence) -> list[tuple[Any, float, float]]:
    """(time, actual, said) of each test row's first step ahead."""
    said = [answer["prediction"][0] for answer in evidence.candidate.answers()]
    return [
        (time, actual[0], guess) for time, actual, guess in zip(_times(evidence), evidence.truth(), said, strict=True)
    ]


def draw(evidence: Evidence) -> str:
    answers, truth, times = evidence.candidate.answers(), evidence.truth(), _times(evidence)
    groups = _series(evidence)
    parts = [promise(evidence)]
    for name, rows in list(groups.items())[:MOST_SERIES]:
        heading = f"{name}: " if name else ""
        parts.append(
            _first_steps(evidence, heading, *([column[row] for row in rows] for column in (times, truth, answers)))
        )
        if len(truth[rows[-1]]) > 1:
            parts.append(_whole(evidence, rows[-1], heading, truth[rows[-1]], answers[rows[-1]]))
    if len(groups) > MOST_SERIES:
        parts.append(
            paragraph(f"{MOST_SERIES} of {len(groups)} series are drawn; plots/forecast.csv holds every answer.")
        )
    return "".join(parts)


def _times(evidence: Evidence) -> list[Any]:
    table = evidence.table
    return table["_time"].to_pylist() if "_time" in table.column_names else list(range(evidence.rows))


def _series(evidence: Evidence) -> dict[str, list[int]]:
    """The test rows of each series, in order of time; one without a name where there is but one."""
    spec = evidence.model.spec
    column = next((field.columns[0] for field in spec.inputs.values() if field.kind == "category"), "")
    names = [str(name) for name in evidence.table[column].to_pylist()] if column else [""] * evidence.rows
    order = sorted(range(len(names)), key=names.__getitem__)  # stable: rows stay in order of time
    return {name: list(rows) for name, rows in groupby(order, key=names.__getitem__)}


def _first_steps(evidence: Evidence, heading: str, times: list[Any], truth: list[Any], answers: list[Any]) -> str:
    """One step ahead, over time."""
    numeric = isinstance(times[0], int | float)
    when = [float(time) if numeric else float(number) for number, time in enumerate(times)]
    came = Line("what came", [(at, row[0]) for at, row in zip(when, truth, strict=True)], "b")
    said = [{name: values[0] for name, values in answer.items() if isinstance(values, list)} for answer in answers]
    x = str(evidence.model.spec.time) if numeric else f"test row, {times[0]} to {times[-1]}"
    return _chart(evidence, [came], when, said, f"{heading}what it said, one step ahead", x)


def _whole(evidence: Evidence, row: int, heading: str, truth: Sequence[float], answer: dict[str, Any]) -> str:
    """All steps ahead from the last time at which all of them are known."""
    from evergreen.data.prepare.windows import own_history

    history = own_history(evidence.table.slice(row, 1).combine_chunks())[0].tolist()
    past = [(float(at - len(history)), value) for at, value in enumerate(history)]
    ahead = [float(step) for step in range(len(truth))]
    came = Line("what came", [*past[-1:], *zip(ahead, truth, strict=True)], "b")
    names = [name for name, values in answer.items() if isinstance(values, list)]
    said = [dict(zip(names, values, strict=True)) for values in zip(*(answer[name] for name in names), strict=True)]
    lines = [Line("what it saw", past, "faint line"), came]
    return _chart(evidence, lines, ahead, said, f"{heading}what it said from there on", "steps ahead")


def _chart(
    evidence: Evidence, lines: list[Line], when: list[float], said: list[dict[str, float]], name: str, x: str
) -> str:
    guess = Line(name, [(at, one["prediction"]) for at, one in zip(when, said, strict=True)], "a")
    band: list[Line] = []
    if "low" in said[0]:
        over = [(at, one["high"]) for at, one in zip(when, said, strict=True)]
        under = [(at, one["low"]) for at, one in zip(when, said, strict=True)]
        share = evidence.candidate.task.coverage
        band = [Line(f"where {share:.0%} were to lie", [*over, *reversed(under)], "band")]
    return chart([*band, *lines, guess], x=x, y=evidence.model.spec.target_name, height=HEIGHT)
