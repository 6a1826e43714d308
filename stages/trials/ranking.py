"""Order trials by what the search is for: the score, and counted quantities where scores cannot be told apart."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from evergreen.stages.trials.space import Search

Row = TypeVar("Row", bound=Mapping[str, Any])


def order(search: Search, rows: Sequence[Row]) -> list[Row]:
    """Return scored trials, the best first; of equal ones the defaults, then the earliest.

    With objectives beside the score, those within one standard error of the best score come first, by their counted
    quantities: the rule of Breiman et al. (1984), by which select chooses as well.
    """
    sign = -1 if search.metric[1] == "max" else 1
    by_score = sorted(rows, key=lambda row: (sign * row["score"], row["options"] != search.defaults))
    if not search.objective or not by_score:
        return by_score
    best = by_score[0]["score"]
    is_close = [abs(row["score"] - best) <= search.error for row in by_score]
    close = [row for row, near in zip(by_score, is_close, strict=True) if near]
    close.sort(key=lambda row: [row["counts"][name] for name in search.objective])
    return [*close, *(row for row, near in zip(by_score, is_close, strict=True) if not near)]


def front(search: Search, rows: Sequence[Row]) -> list[Row]:
    """Return the trials that no other one beats in score and counted quantities together (Pareto)."""
    sign = -1 if search.metric[1] == "max" else 1
    points = [(sign * row["score"], *(row["counts"][name] for name in search.objective)) for row in rows]

    def is_beaten(point: tuple[float, ...]) -> bool:
        return any(
            other != point and all(one <= mine for one, mine in zip(other, point, strict=True)) for other in points
        )

    return [row for row, point in zip(rows, points, strict=True) if not is_beaten(point)]
