"""A forecast beside what came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.report.pictures import Line, chart

if TYPE_CHECKING:
    from stages.judging.scores import Evidence

TITLE = "What it said and what came"


def forecast_rows(evidence: Evidence) -> list[tuple[Any, float, float]]:
    """(time, actual, said) of each test row's first step ahead."""
    times = evidence.table["_time"].to_pylist() if "_time" in evidence.table.column_names else range(evidence.rows)
    said = [answer["prediction"][0] for answer in evidence.candidate.answers()]
    return [(time, actual[0], guess) for time, actual, guess in zip(times, evidence.truth(), said, strict=True)]


def draw(evidence: Evidence) -> str:
    rows = forecast_rows(evidence)
    spec = evidence.model.spec
    numeric = isinstance(rows[0][0], int | float)
    when = [float(row[0]) if numeric else float(number) for number, row in enumerate(rows)]
    came = Line("what came", [(time, row[1]) for time, row in zip(when, rows, strict=True)], "b")
    said = Line("what it said, one step ahead", [(time, row[2]) for time, row in zip(when, rows, strict=True)], "a")
    return chart([came, said], x=str(spec.time) if numeric else "test row", y=spec.target_name, height=320)
