"""Let answers say more than a model does: wider ones of a stated coverage, and the times that a forecast is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evergreen.stages.deploy.request_body import RequestError

if TYPE_CHECKING:
    from evergreen.models.answers import Objects
    from evergreen.stages.deploy.loaded_version import LoadedVersion

COVERAGE = "coverage"
SWITCH = {"1": True, "true": True, "0": False, "false": False}


def asks_explanation(query: Mapping[str, str]) -> bool:
    """Tell whether an address asks for explanations. Raises RequestError (400)."""
    value = query.get("explain", "0")
    if value not in SWITCH:
        raise RequestError(400, f"explain is {value[:20]!r}", fix="use 1")
    return SWITCH[value]


@dataclass(frozen=True)
class AnswerOptions:
    """Hold what a request wants to hear beside the prediction."""

    coverage: float = 0.0  # share of rows for which answers are to hold; 0 leaves them as they are

    @classmethod
    def read(cls, values: Mapping[str, Any], served: LoadedVersion) -> AnswerOptions:
        """Read `coverage` as an address or a request has it. Raises RequestError (400)."""
        if COVERAGE not in values:
            return cls()
        try:
            share = float(values[COVERAGE])
        except (TypeError, ValueError):
            share = 0.0
        if not 0 < share < 1:
            fix = "use a share of the rows, such as 0.9"
            raise RequestError(400, f"coverage is {str(values[COVERAGE])[:20]!r}", fix=fix)
        if served.coverage is None:
            problem = f"{served.version} stores no answers to test rows by which a coverage of {share:g} could be held"
            raise RequestError(400, problem, fix="release a number, a forecast or one class with this Evergreen")
        return cls(share)

    def extend(self, answers: Objects, served: LoadedVersion, moments: Sequence[Any] | None) -> Objects:
        """Return the answers with what more they are to say. Raises RequestError (400) and DataError."""
        from evergreen.core.errors import DataError
        from evergreen.stages.deploy.forecast_times import add_times

        if moments:
            answers = add_times(answers, moments)
        if not self.coverage or served.coverage is None:
            return answers
        try:
            return served.coverage.widen(answers, self.coverage)
        except DataError as error:
            raise RequestError(400, error.problem, fix=error.fix) from None
