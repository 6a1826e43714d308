"""Decide between the trials of a search and the defaults, and say why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError
from evergreen.stages.trials.ranking import front, order
from evergreen.stages.trials.space import split_constraint

if TYPE_CHECKING:
    from evergreen.stages.trials.proposals import Finished
    from evergreen.stages.trials.space import Search

SHOWN = ("options", "score", "epochs", "seconds", "state")
Row = dict[str, Any]


def decide(
    search: Search, done: Sequence[Mapping[str, Any]], cut: Sequence[Mapping[str, Any]], again: Finished | None = None
) -> Row:
    """Decide between the best trial and the defaults; `cut` were cut off, `again` holds repeats.

    Raises PipelineError where trials were done and all of them break a constraint.
    """
    rows = [_row(number, entry) for number, entry in enumerate([*done, *cut])]
    scored = [row for row in rows[: len(done)] if row["score"] is not None]
    _check_feasible(search, rows[: len(done)])
    repeated = _add_repeats(search, scored, again)
    eligible = repeated or scored
    first = next((row for row in eligible if row["options"] == search.defaults), None)
    best = next(iter(order(search, eligible)), None)
    is_better = False
    if best and first and best is not first:
        is_better = bool(search.objective) or abs(best["score"] - first["score"]) > search.error
    broken = next((row["state"] for row in rows if _breaks(row) and row["options"] == search.defaults), "")
    chosen = best if is_better or broken else first
    note = f"; the mean of {search.repeats} seeds decided between {len(repeated)}" if repeated else ""
    note += f"; another run may choose otherwise, for {search.timing}" if search.timing else ""
    more = {"objective": [*search.objective], "front": [row["number"] for row in front(search, eligible)]}
    return {
        "architecture": search.architecture,
        "options": chosen["options"] if chosen and chosen is not first else {},
        "trial": chosen["number"] if chosen else None,
        "score": chosen["score"] if chosen else None,
        "metric": search.metric[0],
        "direction": search.metric[1],
        "trials": rows,
        "why": _failure_note(done) or _why(search, len(scored), best, first, broken) + note,
        **(more if search.objective else {}),
        **({"timing_dependent": search.timing} if done and search.timing else {}),
    }


def _row(place: int, entry: Mapping[str, Any]) -> Row:
    counts = {"counts": entry["counts"]} if "counts" in entry else {}
    return {"number": entry.get("number", place), **{key: entry.get(key) for key in SHOWN}, **counts}


def _breaks(row: Row) -> bool:
    return str(row["state"]).startswith("breaks ")


def _check_feasible(search: Search, rows: list[Row]) -> None:
    """Raise PipelineError where no trial keeps the constraints."""
    if not rows or not all(map(_breaks, rows)):
        return
    name, _ = split_constraint(rows[0]["state"].removeprefix("breaks "))
    least = min(row["counts"][name] for row in rows)
    problem = f"constraints: none of {len(rows)} trials keeps {' and '.join(search.constraints)}"
    raise PipelineError(problem, place="tune", fix=f"the least {name} were {least:,}: loosen it, or widen tune.space")


def _add_repeats(search: Search, scored: list[Row], again: Finished | None) -> list[Row]:
    """Give the rows that were repeated all their scores, and the mean as score; return them, [] where one lacks."""
    scores: dict[int, list[float | None]] = {}
    for (number, _), entry in sorted((again.repeats if again else {}).items()):
        scores.setdefault(number, []).append(entry["score"])
    wanted = search.repeats - 1
    rows = [row for row in scored if row["number"] in scores]
    if not wanted or any(len(scores[row["number"]]) < wanted for row in rows):
        return []
    whole = [row for row in rows if None not in scores[row["number"]][:wanted]]
    for row in whole:
        row["scores"] = [row["score"], *scores[row["number"]][:wanted]]
        row["score"] = sum(row["scores"]) / search.repeats
    return whole


def _failure_note(done: Sequence[Mapping[str, Any]]) -> str:
    """Return why trials failed, where all did, or ""."""
    reasons = [entry.get("reason", "unknown why") for entry in done if entry["state"] == "failed"]
    return f"every trial failed ({reasons[0]}), so the defaults stay" if reasons and len(reasons) == len(done) else ""


def _why(search: Search, count: int, best: Any, first: Any, broken: str) -> str:
    """Explain the choice in a sentence; `first` is the trial of the defaults, None where it was not done."""
    name, error = search.metric[0], search.error
    trials = "1 trial" if count == 1 else f"{count} trials"
    if best is None:
        return "no trial finished in time, so the defaults stay"
    if broken:
        return f"best {name} of {trials} within the limits, {best['score']:.4g}; the defaults have no place there"
    if first is None:
        return f"the defaults stay: they did not finish in time to compare {trials} with them"
    if search.objective and best is not first:
        counted = ", ".join(f"{quantity} {best['counts'][quantity]:,}" for quantity in search.objective)
        within = f"within one standard error ({error:.2g}) of the best {name}"
        return f"least {counted} of {trials} {within}: {best['score']:.4g}; the defaults reach {first['score']:.4g}"
    if best is first:
        suits = "serve best" if search.objective else f"reach the best {name}, {best['score']:.4g},"
        return f"the defaults {suits} of {trials}"
    if abs(best["score"] - first["score"]) > error:
        return f"best {name} of {trials}, {best['score']:.4g}; the defaults reach {first['score']:.4g}"
    within = f"{best['score']:.4g}, is within one standard error ({error:.2g}) of theirs, {first['score']:.4g}"
    return f"the defaults stay: the best {name} of {trials}, {within}"
