"""The best of a race trains longer as long as that is clearly better and is paid for."""

import copy

import numpy as np
import pytest

from evergreen.models.work import Work
from evergreen.stages.trials import longer_training
from evergreen.stages.trials import race_plan as plan
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.trial import Score

LOSSES = np.random.default_rng(0).exponential(size=200)


def runner(name="embedded_mlp", steps=100):
    one = ContenderState(name, 0, is_baseline=name == "linear")
    one.work, one.steps, one.goal, one.final = Work(0.1, 1.0, 40.0, 1e-6), steps, 40 * steps, True
    one.rows, one.scores, one.score = [(LOSSES + 1.0).tolist()], [2.0], Score(2.0, 2.0, 40, 1.0)
    return one


class Stand:
    """A race in which a trial of so many epochs has losses that are known, and costs as many nominal seconds."""

    is_cut, done, planned = False, 0.0, 0.0

    def __init__(self, behind):
        self.behind, self.trained = behind, []

    def measure(self, contenders):
        for one in contenders:
            one.work = Work(0.1, 1.0, float(one.options["epochs"]), 1e-6)

    def run(self, jobs, what):
        (job,) = jobs
        epochs = job.contender.options["epochs"]
        self.trained.append(epochs)
        rows = LOSSES + self.behind[epochs]
        score = Score(float(rows.mean()), float(rows.mean()), epochs, 1.0)
        return {job: {"score": score, "rows": rows.tolist(), "error": 0.1, "parameters": 9}}


@pytest.mark.parametrize(
    ("behind", "work", "trained", "chosen"),
    [
        ({120: 0.5, 360: 0.2}, 2400.0, [120, 360], 360),
        ({120: 0.5, 360: 0.6}, 2400.0, [120, 360], 120),
        ({120: 1.0, 360: 0.0}, 2400.0, [120], None),  # what gained nothing gets no more
        ({120: 0.5, 360: 0.2}, 2399.0, [120], 120),
        ({120: 0.5, 360: 0.2}, 599.0, [], None),
    ],
)
def test_the_best_goes_on_while_it_gains_and_is_paid(behind, work, trained, chosen):
    race, first, other = Stand(behind), runner(), runner("mlp")
    other.scores = [2.5]
    before = copy.copy(first)
    found = longer_training.run(race, [first, other], {}, work, "min")
    assert race.trained == trained
    assert found[0].options.get("epochs") == chosen
    assert found[1] is other
    assert (first.options, first.rows, first.scores) == (before.options, before.rows, before.scores)


def test_a_convex_loss_that_is_flat_trains_no_longer():
    race, best = Stand({}), runner("linear")
    assert longer_training.run(race, [best], {}, 1e9, "min") == [best]
    assert race.trained == []


def test_batches_grow_where_an_epoch_has_many_updates():
    many, some, few = (longer_training.lengthened(runner(steps=steps), 3).options for steps in (64, 63, 31))
    assert many == {"epochs": 120, "batch_size": 128, "learning_rate": 0.004}
    assert some == {"epochs": 120, "batch_size": 64, "learning_rate": 0.00283}
    assert few == {"epochs": 120}
    assert longer_training.lengthened(runner(steps=4), 3).options == {"epochs": 300}  # folds train for 400 updates


def test_its_work_grows_with_the_rows():
    works = [plan.longer_work(rows, 1.0) for rows in (300, 1_200, 2_400, 5_000, 20_000)]
    assert works == [160.0, 160.0, 320.0, 400.0, 800.0]
    assert plan.longer_work(300, 2.0) == 320.0
