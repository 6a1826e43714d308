"""Train the best network of a table longer, as long as that is clearly better on the same rows and is paid for.

Networks race by the epochs of their recipe, so that many can race; 40 are few for some thousand rows. Where an epoch
has many updates, batches grow with the epochs, and the learning rate by the square root (Malladi et al. 2022, "On the
SDEs and Scaling Rules for Adaptive Gradient Algorithms"): that costs less and learns as much.
"""

import copy
from collections.abc import Sequence
from typing import Any

from evergreen.models.registry import find_architecture
from evergreen.stages.trials import fold_race
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.out_of_fold import MIN_STEPS
from evergreen.stages.trials.race import Job, Race
from evergreen.stages.trials.trial import split_config_and_options

LENGTHS = (3, 9)  # times its epochs
BATCH_GROWTHS = (4, 2, 1)  # times its batch: the most that leaves an epoch so many updates
MIN_EPOCH_STEPS = 16
SERIAL = 5.0  # cores that could work while one trial trains, here and once more as the candidate


def lengthened(one: ContenderState, factor: int) -> ContenderState:
    """Return a contender of so many times its epochs; `one` has the architecture's own."""
    recipe, _ = split_config_and_options(one.name, one.options)
    growth = next((growth for growth in BATCH_GROWTHS if one.steps >= MIN_EPOCH_STEPS * growth), 1)
    options: dict[str, Any] = {"epochs": factor * max(recipe.epochs, -(-MIN_STEPS // one.steps))}
    if growth > 1:
        rate = float(f"{recipe.learning_rate * growth**0.5:.3g}")
        options |= {"batch_size": growth * recipe.batch_size, "learning_rate": rate}
    longer = copy.copy(one)
    longer.options, longer.final, longer.plan = {**one.options, **options}, False, None
    return longer


def run(
    race: Race, contenders: list[ContenderState], spec: dict[str, Any], work: float, direction: str
) -> list[ContenderState]:
    """Return the contenders, the best of them trained longer where `work` nominal seconds pay it and it is better."""
    first = _best(contenders, direction)
    if first is None:
        return contenders
    best = first
    for factor in LENGTHS:
        longer = lengthened(first, factor)
        race.measure([longer])
        if longer.failed or (cost := _cost(longer)) > work:
            break
        work -= cost
        race.planned = race.done + cost
        is_scored = _score(race, longer, first, spec, f"{longer.name}, {factor} times the epochs")
        sign = 1 if direction == "max" else -1
        if not is_scored or sign * longer.mean <= sign * best.mean or longer.paired_gap(best) <= 1:
            break
        contenders = [longer if one is best else one for one in contenders]
        best = longer
    return contenders


def _best(contenders: Sequence[ContenderState], direction: str) -> ContenderState | None:
    """Return the best finalist, or None where longer training has nothing to give: a convex loss is flat already."""
    finalists = [one for one in contenders if one.final]
    best = max(finalists, key=lambda one: one.mean if direction == "max" else -one.mean, default=None)
    return None if best is None or find_architecture(best.name).STRENGTHS else best


def _cost(one: ContenderState) -> float:
    assert one.work
    return (one.folds + 1) * one.fold_work if one.folds else SERIAL * one.work.full


def _score(race: Race, longer: ContenderState, first: ContenderState, spec: dict[str, Any], what: str) -> bool:
    """Score a contender as `first` was, over all folds at a time; return whether that came to its end."""
    if first.plan and first.folds:
        longer.plan = fold_race.plan_folds(longer, race, spec, first.plan.folds, first.plan.places)
    jobs = [Job(longer, longer.seed, 0, fold) for fold in (range(first.folds) if longer.plan else [None])]
    answers = race.run(jobs, what)
    if race.is_cut or any("reason" in answer for answer in answers.values()):
        return False
    if longer.plan:
        longer.add_folds(answers[jobs[-1]], first.folds)
        longer.final = True
    else:
        longer.add_final_score(answers[jobs[0]])
    return not longer.failed
