"""Plan a race: which contender trains how far, from rows, settings and counted work alone.

Nothing here looks at a clock, so a busy machine races longer and not otherwise. Every contender gets a first rung; what
a rung may cost is shared equally among those that are in it, so a costly network is compared by what it learned from as
much work as the others, and the plan has an end that can be told in advance. A cheap one trains its whole length at
once. A costly one is dropped only where it is clearly worse and no longer gains, for a first rung shows little of it.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

FINALISTS = 2  # besides the baseline; no rung leaves fewer
MAX_GAP = 2.0  # standard errors behind the best of a race, beyond which there are no finals for a third one
HOPELESS_GAP = 4.0  # the same for a race over folds: one that a rung, cut short, judges wrongly may still win there
RACE_WORK, FINALS_WORK = 40.0, 60.0  # nominal seconds of one core, see models/work.py
FOLDS_WORK, TABLE_WORK = 70.0, 150.0  # of finals over folds, and of those of a table: train repeats none of it
LONGER_WORK = 160.0  # of training the best longer on a small table, see stages/trials/longer_training.py
SMALL, LARGER = 1_200, 2.5  # training rows of a table from which that grows, and how far
ROWS = 5_000  # training rows beyond which a plan grows, by the square root
MAX_GROWTH = 4.0
KEPT_SHARE = 0.5  # of the challengers in a rung, that go on at most: the best, then those that may still reach them
FIRST_SHARE = 0.4  # of the race's work, for the first rung: there everyone is
MIN_STEPS = 5  # updates of a contender in a rung, whatever they cost
MIN_FOLDS = 2  # one, of which nobody asked for, tells no more than the validation split
MIN_COMPARED = 3  # contenders; a choice among fewer is none
CAP = 10.0  # seconds that a race may take for each nominal second of its plan, where the YAML sets no limit
START_SECONDS = 60.0  # until workers can train, on a machine that has much else to do


def scale(rows: int, effort: float) -> float:
    """Return by how much the plan for so many training rows is larger than that of a small table."""
    return effort * min(MAX_GROWTH, max(1.0, float((rows / ROWS) ** 0.5)))


def longer_work(rows: int, effort: float) -> float:
    """Return the nominal seconds of training the best longer, for so many training rows of a table."""
    return LONGER_WORK * min(LARGER, max(1.0, rows / SMALL)) * scale(rows, effort)


def cap_seconds(rows: int, effort: float) -> float:
    """Return the seconds after which a race is cut off where the YAML sets no limit."""
    return START_SECONDS + CAP * (scale(rows, effort) * (RACE_WORK + TABLE_WORK) + longer_work(rows, effort))


def rung_goals(contenders: Sequence[Any], chunks: int, work: float) -> dict[Any, int]:
    """Return how far each trains in a rung: `work` is shared equally, and the rest of a cheap one's share by others."""
    wanted = {one: _rung_work(one, rung_goal(one, chunks, work)) for one in contenders}
    goals = dict.fromkeys(contenders, 0)
    for place, one in enumerate(sorted(contenders, key=lambda one: wanted[one])):
        goals[one] = rung_goal(one, chunks, work / (len(contenders) - place))
        work -= _rung_work(one, goals[one])
    return goals


def _rung_work(contender: Any, goal: int) -> float:
    return float((goal - contender.goal) * contender.work.epoch / contender.steps)


def rung_goal(contender: Any, chunks: int, allowed: float) -> int:
    """Return the updates, in all, to which a contender trains in a rung by `allowed` more work.

    That is as far as the work goes, up to its whole training or so many chunks, whichever is longer. Beyond one epoch
    they are whole epochs, since scores are those of epochs.
    """
    affordable = contender.goal + max(MIN_STEPS, int(allowed * contender.steps / contender.work.epoch))
    goal = min(max(chunks * contender.chunk, contender.full_steps), affordable)
    return int(max(contender.goal, goal - goal % contender.steps if goal > contender.steps else goal))


def rung_work(rung: int, rungs: int, total: float) -> float:
    """Return what all contenders of a rung (from 1) may cost together."""
    if rungs == 1:
        return total
    return total * (FIRST_SHARE if rung == 1 else (1 - FIRST_SHARE) / (rungs - 1))


def promote(ranked: Sequence[Any], factor: int, direction: str, favourites: Collection[str] = ()) -> list[Any]:
    """Return those of a rung that go on: the baseline, the best one in `factor`, and those that may still reach them.

    The latter are at most as many as KEPT_SHARE allows, the `favourites` first.
    """
    challengers = [contender for contender in ranked if not contender.is_baseline]
    count = max(FINALISTS, -(-len(challengers) // factor))
    best, rest = challengers[:count], challengers[count:]
    rest = [one for one in rest if one.may_reach(best[-1], direction)]
    rest.sort(key=lambda one: one.name not in favourites)
    kept = best + rest[: max(0, math.ceil(KEPT_SHARE * len(challengers)) - count)]
    return [contender for contender in ranked if contender.is_baseline or contender in kept]


def finals_work(contenders: Sequence[Any], total: float) -> float:
    """Return what of `total`, for the race and the finals together, the race left for the finals."""
    return float(total - sum(one.goal * one.work.epoch / one.steps for one in contenders if one.work))


def finalists(ranked: Sequence[Any], wanted: int, total: float) -> list[Any]:
    """Return the baseline and the best challengers: two, and more where they take no seed or fold from the others.

    One that would leave no work for any final of the others is passed over, unless it is the best. From the third on
    they are those that the rows of the race do not show to be worse.
    """
    chosen = [contender for contender in ranked if contender.is_baseline]
    challengers = [contender for contender in ranked if not (contender.is_baseline or contender.options)]
    n_chosen = 0
    for contender in challengers:
        needed = min(n_chosen, 1) if n_chosen < FINALISTS else n_finals(chosen, wanted, total)
        if n_chosen >= FINALISTS and contender.paired_gap(challengers[0]) > MAX_GAP:
            continue
        if n_finals([*chosen, contender], wanted, total) >= needed:
            chosen, n_chosen = [*chosen, contender], n_chosen + 1
    return [contender for contender in ranked if contender in chosen]


def hopefuls(ranked: Sequence[Any], work: float, direction: str) -> list[Any]:
    """Return the baseline, and who is neither shown to be worse than the best nor too much work for folds."""

    def may_win(one: Any) -> bool:
        is_affordable = bool(MIN_FOLDS * one.fold_work <= work)
        is_hopeless = not one.may_reach(ranked[0], direction) and one.paired_gap(ranked[0]) > HOPELESS_GAP
        return is_affordable and not is_hopeless

    return [one for one in ranked if one.is_baseline or may_win(one)]


def pays_folds(ranked: Sequence[Any], folds: int, work: float, direction: str) -> bool:
    """Tell whether `work` pays a fold of all who may win, and all folds of the best: no rung tells as much."""
    hopeful = hopefuls(ranked, work, direction)
    fold, more = (sum(one.fold_work for one in some) for some in (hopeful, _core(hopeful, folds, work)))
    return bool(fold + (folds - 1) * more <= work)


def affordable(ranked: Sequence[Any], rounds: int, work: float) -> list[Any]:
    """Return who has a further fold: those for whom all `rounds` are kept, then the best that can be paid."""
    chosen = _core(ranked, rounds, work)
    left = work - rounds * sum(one.fold_work for one in chosen)
    for one in ranked:
        if one not in chosen and one.fold_work <= left:
            chosen, left = [*chosen, one], left - one.fold_work
    return [one for one in ranked if one in chosen]


def _core(ranked: Sequence[Any], rounds: int, work: float) -> list[Any]:
    """Return the baseline, the best challenger and the next for whose `rounds` there is work."""
    core = [one for one in ranked if one.is_baseline]
    left, n_chosen = work - rounds * sum(one.fold_work for one in core), 0
    for one in ranked:
        cost = rounds * one.fold_work
        if not (one.is_baseline or one.options) and n_chosen < FINALISTS and (cost <= left or not n_chosen):
            core, left, n_chosen = [*core, one], left - cost, n_chosen + 1
    return core


def n_finals(contenders: Sequence[Any], wanted: int, total: float) -> int:
    """Return with how many seeds, or over how many folds, finalists are trained in full; 0 where that is too much."""
    each = sum(contender.work.full for contender in contenders)
    return min(wanted, int(total / each)) if each else wanted
