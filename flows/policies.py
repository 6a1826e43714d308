"""Compare when to train anew, by what runs of the past came to: how good answers would have been, at what cost."""

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from evergreen.core.errors import PipelineError
from evergreen.stages.operation import Operation

Json = dict[str, Any]
Due = Callable[[Json, Json, str], bool]  # the moment before, the moment, the version in service → train at the moment?


def compare_policies(results: Sequence[Json], schedule: str = "", time_zone: str = "UTC") -> list[Json]:
    """Return each policy with its mean score over all rows, what it cost, trainings, and the version by moment.

    Policies: never, at each moment, after a moment in which something moved, and by a `schedule` in cron.
    """
    usable = [one for one in results if not one["problem"]]
    policies: dict[str, Due] = {
        "never": lambda *_: False,
        "each time": lambda *_: True,
        "on drift": lambda before, _, version: bool(before["moved"].get(version)),
    }
    if schedule:
        operation = Operation(schedule=schedule, time_zone=time_zone)
        policies[schedule] = lambda _, now, __: _is_due(operation, now["moment"], now["until"])
    return [_simulate(name, due, usable) for name, due in policies.items()] if usable else []


def _simulate(name: str, due: Due, results: Sequence[Json]) -> Json:
    versions = [results[0]["moment"]]
    for before, now in itertools.pairwise(results):
        versions.append(now["moment"] if due(before, now, versions[-1]) else versions[-1])
    rows = [(one["rows"], one["scores"].get(version)) for one, version in zip(results, versions, strict=True)]
    answered = [(n, score) for n, score in rows if score is not None]
    trained = [one for one in results if one["moment"] in versions]
    return {
        "policy": name,
        "metric": results[0]["metric"],
        "score": sum(n * score for n, score in answered) / sum(n for n, _ in answered),
        "core_seconds": round(sum(one["core_seconds"] for one in trained), 1),
        "trainings": len(trained),
        "versions": versions,
    }


def _is_due(operation: Operation, start: str, end: str) -> bool:
    """Tell whether a schedule is due between a moment and the next one."""
    try:
        first, last = (datetime.fromisoformat(moment).replace(tzinfo=UTC) for moment in (start, end))
    except ValueError as error:
        raise PipelineError("cron needs times that are dates", place="--schedule", fix="leave it out") from error
    return next(operation.due_after(first - timedelta(minutes=1))) < last
