"""Decide whether a trial goes on after a chunk, by comparison with trials of earlier batches alone."""

import statistics
from collections.abc import Mapping
from typing import Any

from evergreen.stages.trials.samplers import BATCH
from evergreen.stages.trials.space import Search

RUNGS = (9, 3)  # a trial may be stopped after a ninth and after a third of its chunks
FACTOR = 3  # one in so many goes on


def is_promoted(
    search: Search, done: Mapping[int, Mapping[str, Any]], number: int, chunk: int, result: Mapping[str, Any]
) -> bool:
    """Tell whether a trial goes on after so many chunks; `result` holds its rank and what was counted.

    halving: among the best third at a rung (Jamieson and Talwalkar 2016). median: not below the median of the others
    as far, from the first rung on (Golovin et al. 2017). Where counted quantities are objectives, one that is beaten in
    all of them by no other goes on as well.
    """
    rungs = {max(1, search.chunks // rung) for rung in RUNGS}
    is_judged = chunk >= min(rungs) if search.scheduler == "median" else chunk in rungs
    others = [
        (entry["curve"][chunk - 1], entry)
        for entry in (done[other] for other in range(number // BATCH * BATCH))
        if len(entry.get("curve") or []) >= chunk
    ]
    if search.scheduler == "none" or not is_judged or not others:
        return True
    ranks = sorted((rank for rank, _ in others), reverse=True)
    bar = statistics.median(ranks) if search.scheduler == "median" else ranks[(len(ranks) - 1) // FACTOR]
    return result["rank"] >= bar or (bool(search.objective) and not any(_beats(search, one, result) for one in others))


def _beats(search: Search, other: tuple[float, Mapping[str, Any]], result: Mapping[str, Any]) -> bool:
    """Tell whether another trial is as good and as small in everything, and better in something."""
    theirs = (-other[0], *(other[1]["counts"][name] for name in search.objective))
    own = (-result["rank"], *(result[name] for name in search.objective))
    return theirs != own and all(one <= mine for one, mine in zip(theirs, own, strict=True))
