"""A race over folds: who is clearly worse goes no further, and what that spares pays for others."""

import numpy as np
import pytest

from evergreen.models.work import Work
from evergreen.stages.trials import fold_race
from evergreen.stages.trials import race_plan as plan
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.trial import Score

NOISE = np.random.default_rng(0)
ROWS = NOISE.exponential(size=(5, 100))  # the losses of 100 rows in each of five folds


class Runner(ContenderState):
    """A contender whose losses in folds are known, each row by so much worse than ROWS."""

    def __init__(self, name, behind, *, full=1.0, spread=0.3, options=None):
        super().__init__(name, 0, is_baseline=name == "linear")
        self.work, self.steps, self.rung, self.options = Work(full, full, full, 1e-6), 10, 1, options or {}
        self.losses = ROWS + behind + spread * np.random.default_rng(len(name)).normal(size=ROWS.shape)
        self.record(1)

    fold_work = property(lambda self: self.work.full)

    def record(self, n_folds):
        self.rows = [self.losses[:n_folds].ravel().tolist()]
        self.scores = [float(losses.mean()) for losses in self.losses[:n_folds]]
        self.score = Score(self.mean, self.mean, 9, 1.0)

    def add_folds(self, answer, n_folds):
        self.folds = n_folds
        self.record(n_folds)


class Stand:
    """A race that answers at once."""

    is_cut, done, planned = False, 0.0, 0.0

    def __init__(self):
        self.rounds = []

    def run(self, jobs, what):
        self.rounds.append({job.contender.name for job in jobs})
        return {job: {"seconds": 1.0} for job in jobs}


def raced(ranked, work=100.0, rounds=5):
    race = Stand()
    fold_race.run(race, ranked, rounds, work, "min")
    return race.rounds


def test_who_is_clearly_worse_goes_no_further_and_the_baseline_stays():
    ranked = [Runner("mlp", 0.0), Runner("tabm", 0.01), Runner("linear", 0.9), Runner("rbf", 0.9)]
    rounds = raced(ranked)
    assert rounds == [{"mlp", "tabm", "linear", "rbf"}] * 3 + [{"mlp", "tabm", "linear"}] * 2
    assert [one.final for one in ranked] == [True, True, True, False]


def test_a_race_with_one_winner_left_is_over():
    ranked = [Runner("mlp", 0.0), Runner("tabm", 0.6), Runner("linear", 0.9)]
    assert raced(ranked) == [{"mlp", "tabm", "linear"}] * 3
    assert [one.final for one in ranked] == [True, True, True]


def test_one_that_a_first_rung_judged_badly_can_win():
    ranked = [Runner("linear", 0.5), Runner("mlp", 0.4), Runner("tabm", 0.4), Runner("realmlp", 0.0, full=3.0)]
    assert raced(ranked, work=40.0)
    assert max(ranked, key=lambda one: one.rank("min")).name == "realmlp"
    assert [one.name for one in ranked if one.final] == ["linear", "mlp", "tabm", "realmlp"]


def test_the_folds_of_the_best_are_paid_before_those_of_others():
    ranked = [Runner("mlp", 0.0, full=2.0), Runner("tabm", 0.0, full=2.0), Runner("linear", 0.0), Runner("rbf", 0.0)]
    assert raced(ranked, work=25.0) == [{"mlp", "tabm", "linear"}] * 5
    assert raced(ranked, work=26.0)[0] == {"mlp", "tabm", "linear", "rbf"}


def test_the_best_strength_of_a_penalty_stands_for_its_architecture():
    ranked = fold_race.with_strengths([Runner("linear", 0.5)])
    assert [one.is_baseline for one in ranked] == [True, *[False] * (len(ranked) - 1)]
    assert {*(name for one in ranked[1:] for name in one.options)} == {"prior"}
    ranked[2].losses = ROWS
    raced(ranked)
    (best,) = fold_race.best_of_each(ranked, "min")
    assert best is ranked[2]
    assert best.is_baseline


def test_rungs_end_once_a_fold_of_all_who_may_win_is_paid():
    ranked = [Runner("linear", 0.0), *(Runner("m" * n, 0.0, full=4.0) for n in (3, 4, 5))]
    needed = 13 + 4 * 9  # a fold of each, and four more of the baseline and the best two
    assert plan.pays_folds(ranked, 5, needed, "min")
    assert not plan.pays_folds(ranked, 5, needed - 0.1, "min")
    ranked[3].work = Work(30.0, 30.0, 30.0, 1e-6)  # two of its folds are too much work: it is passed over
    assert plan.pays_folds(ranked, 5, needed, "min")
    assert ranked[3] not in plan.hopefuls(ranked, needed, "min")


def test_what_a_cheap_one_leaves_of_a_rung_goes_to_the_others():
    def lane(name, epoch, full_epochs=100):
        one = ContenderState(name, 0)
        one.work, one.steps, one.chunk = Work(epoch / 10, epoch, full_epochs * epoch, 1e-6), 10, 30
        return one

    cheap, costly, costlier = lane("a", 0.01), lane("b", 0.5), lane("c", 1.0)
    goals = plan.rung_goals([costlier, cheap, costly], 1, 21.0)
    assert goals == {cheap: 1000, costly: 200, costlier: 100}
    assert sum(goals[one] * one.work.epoch / one.steps for one in goals) == pytest.approx(21.0)
