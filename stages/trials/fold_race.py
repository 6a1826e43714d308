"""Race finalists over folds: each round trains one more fold of each, and who is clearly worse goes no further.

Racing (Maron and Moore 1994, "Hoeffding Races"; Birattari et al. 2002, F-race) on paired differences: rows that one
fold holds are the same for all. A fold trains a network as train does, to its end, so nobody is judged by the beginning
of its learning; it is scored at the epoch at which it would end, and calibrated as it would be. What a round spares
pays for those that the race before judged least surely.
"""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from evergreen.models.registry import find_architecture
from evergreen.stages.code_version import learned_code_version
from evergreen.stages.trials import race_plan
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.out_of_fold import FoldPlan
from evergreen.stages.trials.race import Job, Race
from evergreen.stages.trials.trial import split_config_and_options

MIN_FOLDS = 3  # before anyone is judged: what is rare, such as a certain and wrong answer, is in no fold or in one


def with_strengths(ranked: Sequence[ContenderState]) -> list[ContenderState]:
    """Return the contenders, and beside each those of other STRENGTHS of its penalty."""
    found = []
    for one in ranked:
        found.append(one)
        for name, values in find_architecture(one.name).STRENGTHS.items():
            for value in values:
                other = copy.copy(one)
                other.options, other.is_baseline = {name: value}, False
                found.append(other)
    return found


def plan_folds(one: ContenderState, race: Race, spec: dict[str, Any], folds: int, places: dict[str, Any]) -> FoldPlan:
    """Plan the folds of a contender as train does where the YAML says nothing else."""
    _, version, task = race.common
    recipe, options = split_config_and_options(one.name, one.options)
    return FoldPlan(
        task=task,
        architecture=one.name,
        options=options,
        recipe=dataclasses.asdict(recipe.replace(seed=one.seed)),
        augment=False,
        balance=False,
        bucket=False,
        folds=folds,
        settles_epochs=True,
        data_version=version,
        code_version=learned_code_version("train", spec, task, one.name),
        **places,
    )


def run(race: Race, ranked: Sequence[ContenderState], rounds: int, work: float, direction: str) -> None:
    """Train so many folds of the best, by `work` nominal seconds; their scores replace those of the race before."""
    alive = list(ranked)
    for number in range(rounds):
        alive = race_plan.affordable(alive, rounds - number, work)
        work -= sum(one.fold_work for one in alive)
        race.planned = race.done + (rounds - number) * sum(one.fold_work for one in alive)
        jobs = [Job(one, one.seed, 0, number) for one in sorted(alive, key=lambda one: -one.fold_work)]
        answers = race.run(jobs, f"finals, fold {number + 1} of at most {rounds}")
        if race.is_cut:
            return
        for job, answer in answers.items():
            job.contender.add_folds(answer, number + 1)
        alive = [one for one in alive if not one.failed]
        for one in ranked:
            one.final = one in alive
        alive.sort(key=lambda one: one.rank(direction), reverse=True)
        if number + 1 < MIN_FOLDS:
            continue
        going_on = [one for one in alive if one.paired_gap(alive[0]) <= race_plan.MAX_GAP]
        if len(going_on) <= 1:
            return
        alive = [one for one in alive if one in going_on or one.is_baseline]


def best_of_each(raced: Sequence[ContenderState], direction: str) -> list[ContenderState]:
    """Return of each architecture the contender whose strength did best: its own, unless another is clearly better."""
    best: dict[str, ContenderState] = {}
    for one in sorted(raced, key=lambda one: (one.final, one.folds, one.rank(direction)), reverse=True):
        first = best.setdefault(one.name, one)
        if first.options and not one.options and one.final and one.paired_gap(first) <= race_plan.MAX_GAP:
            best[one.name] = one
    anchors = {one.name for one in raced if one.is_baseline}
    for one in best.values():
        one.is_baseline = one.name in anchors
    return list(best.values())
