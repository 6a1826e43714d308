"""What select decides from scores, and that it says so."""

import random

import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.models.work import Work
from evergreen.stages.artifacts import folder_version
from evergreen.stages.select import selection
from evergreen.stages.select import stage as select
from evergreen.stages.select.config import SelectConfig
from evergreen.stages.trials import race_plan as plan
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.trial import Score


def contender(name, parameters, wrong, rung=4, rows=200):
    """A contender whose first `wrong` rows of 200 are wrong, and some of the others' too."""
    one = ContenderState(name, 0, is_baseline=name == "linear")
    one.rows = [[0.0] * wrong + [1.0] * (rows - wrong)]
    one.scores, one.parameters, one.rung = [1 - wrong / rows], parameters, rung
    one.work = Work(parameters / 1e3, 1.0, 1.0, parameters / 1e6)
    one.score = Score(1 - wrong / rows, 0.1, 27, 1.0)
    return one


def test_a_clear_winner_is_chosen():
    chosen, why = selection.choose([contender("linear", 10, 40), contender("mlp", 100, 5)], "accuracy", "max")
    assert chosen == "mlp"
    assert "0.975" in why
    assert "0.8" in why


def test_the_anchor_within_one_standard_error_is_chosen_and_said():
    chosen, why = selection.choose([contender("linear", 10, 6), contender("mlp", 100, 5)], "accuracy", "max")
    assert chosen == "linear"
    for said in ("one standard error", "mlp", "0.97", "0.975", "instead of 100"):
        assert said in why


def test_smaller_is_better_where_the_metric_says_so():
    chosen, _ = selection.choose([contender("linear", 10, 5), contender("mlp", 100, 60)], "mse", "min")
    assert chosen == "mlp"


def test_of_two_close_ones_the_cheaper():
    contenders = [contender("linear", 10, 80), contender("cnn", 900, 5), contender("mlp", 100, 6)]
    assert selection.choose(contenders, "accuracy", "max")[0] == "mlp"


def test_the_gap_is_paired():
    noise = random.Random(0)
    shared = [noise.gauss(0, 10) for _ in range(100)]
    one, other = ContenderState("a", 0), ContenderState("b", 0)
    one.rows = [[value + 0.5 + noise.gauss(0, 0.1) for value in shared]]
    other.rows = [shared]
    assert one.paired_gap(other) > 10  # against rows so different, unpaired it would be below one


def losses(name, rows):
    one = ContenderState(name, 0, is_baseline=name == "linear")
    one.rows, one.scores = [rows], [sum(rows) / len(rows)]
    one.parameters, one.rung, one.final = (10 if one.is_baseline else 100), 4, True
    one.work = Work(1.0, 1.0, 1.0, one.parameters / 1e6)
    return one


@pytest.mark.parametrize(("n_rows", "chosen"), [(300, "linear"), (3_000, "mlp")])
def test_on_few_rows_the_best_of_many_must_be_clearly_better_than_the_baseline(n_rows, chosen):
    noise = random.Random(1)
    good = [noise.gauss(0, 1) ** 2 for _ in range(n_rows)]
    anchor = [row + 0.03 + (0.4 if number % 2 else -0.4) for number, row in enumerate(good)]
    assert (1 < losses("linear", anchor).paired_gap(losses("mlp", good)) < 2) == (n_rows == 300)
    assert selection.choose([losses("linear", anchor), losses("mlp", good)], "mse", "min")[0] == chosen
    cheap = losses("perceptron", good)
    cheap.work, cheap.parameters = losses("linear", anchor).work, 10
    assert (selection.choose([losses("linear", anchor), cheap], "mse", "min")[0] == "linear") == (chosen == "linear")
    other = losses("rbf", anchor)
    assert other.is_clearly_worse(losses("mlp", good))  # what is no baseline has no such credit


def test_a_few_wild_rows_do_not_make_a_clear_difference_a_tie():
    noise = random.Random(0)
    good = [noise.gauss(0, 1) ** 2 for _ in range(300)]
    bad = [2 * row + 0.3 for row in good]
    bad[7] = 5000.0  # Student's t is 1 where one row is all of the variance
    chosen, _ = selection.choose([losses("linear", bad), losses("mlp", good)], "mse", "min")
    assert chosen == "mlp"
    same = [row - 0.01 for row in good]
    same[7] = 5000.0
    chosen, _ = selection.choose([losses("linear", same), losses("mlp", good)], "mse", "min")
    assert chosen == "linear"  # nothing but the wild row speaks against it


def test_rare_certain_errors_are_what_a_log_loss_is_about():
    one, other = ([[0.02] * 300, [0.005] * 300][place] for place in range(2))
    one[:4], other[-3:] = [3.0] * 4, [3.5] * 3
    linear, mlp = losses("linear", one), losses("mlp", other)
    assert linear.paired_gap(mlp) > 2
    linear.has_wild_rows = mlp.has_wild_rows = False
    assert linear.paired_gap(mlp) < 1


def test_rare_rows_that_matter_are_not_trimmed_away():
    rare = [0.9 if row % 20 == 0 else 0.02 for row in range(1000)]
    common = [2.5 if row % 20 == 0 else 0.01 for row in range(1000)]
    assert losses("mlp", rare).paired_gap(losses("linear", common)) > 5
    assert selection.choose([losses("linear", common), losses("mlp", rare)], "log_loss", "min")[0] == "mlp"


def test_a_cheaper_answer_may_not_be_expected_to_cost_much():
    noise = random.Random(0)

    def raced(behind, spread, rows=2000):
        good = [1 + noise.random() for _ in range(rows)]
        bad = [row + 1.5 * behind + spread * (1 if place % 2 else -1) for place, row in enumerate(good)]
        return selection.choose([losses("linear", bad), losses("mlp", good)], "log_loss", "min")[0]

    assert raced(0.008, 0.9) == "linear"  # less than one part in a hundred
    assert raced(0.02, 1.5) == "mlp"  # two parts, measured to within as much or so
    assert raced(0.02, 6.0) == "linear"  # two parts that may be nothing


def rung(scores):
    """Contenders after a rung at these scores, the best first, none of which still gains."""
    ranked = [contender(f"a{place}", 1, wrong) for place, wrong in enumerate(scores)]
    return [*ranked, contender("linear", 1, 190)]


def named(ranked):
    return [one.name for one in ranked]


def test_survivors_are_the_best_and_the_anchor():
    assert named(plan.promote(rung([0, 20, 60, 90, 120, 150]), 3, "max")) == ["a0", "a1", "linear"]


def test_one_that_still_gains_or_cannot_be_told_apart_goes_on():
    ranked = rung([0, 20, 60, 90, 120, 150])
    ranked[3].gain = 0.2  # of an accuracy of 0.55; 0.9 is what goes on
    assert named(plan.promote(ranked, 3, "max")) == ["a0", "a1", "a3", "linear"]
    ranked[4].gain = None  # it has not finished two epochs; but half of them go on and no more
    assert named(plan.promote(ranked, 3, "max")) == ["a0", "a1", "a3", "linear"]
    assert named(plan.promote(ranked, 3, "max", {"a4"})) == ["a0", "a1", "a4", "linear"]
    ranked[3].gain, ranked[4].gain, ranked[2].rows = 0.0, 0.0, ranked[1].rows
    assert named(plan.promote(ranked, 3, "max")) == ["a0", "a1", "a2", "linear"]


def test_one_that_came_to_nothing_does_not_go_on():
    ranked = rung([0, 20, 60, 90, 120, 150])
    ranked[3].score, ranked[3].gain = Score(float("nan"), float("nan"), 1, 1.0), None
    assert named(plan.promote(ranked, 3, "max", {"a3"})) == ["a0", "a1", "linear"]


def test_finalists_are_as_many_as_their_seeds_can_be_paid():
    ranked = rung([0, 1, 2, 3, 4, 5])
    assert named(plan.finalists(ranked, 3, 100.0)) == ["a0", "a1", "a2", "a3", "linear"]  # a4 is two errors behind
    assert named(plan.finalists(ranked, 3, 11.0)) == ["a0", "a1", "linear"]
    ranked[1].work = Work(1.0, 1.0, 4.0, 1.0)
    assert named(plan.finalists(ranked, 3, 15.0)) == ["a0", "a1", "a2", "linear"]  # two seeds with a2 or without it
    ranked[1].work = Work(1.0, 1.0, 50.0, 1.0)  # it would leave no final to anyone
    assert named(plan.finalists(ranked, 3, 11.0)) == ["a0", "a2", "linear"]
    ranked[0].work = Work(1.0, 1.0, 50.0, 1.0)
    assert plan.n_finals(plan.finalists(ranked, 3, 11.0), 3, 11.0) == 0


def test_of_two_that_cannot_be_told_apart_the_one_with_the_cheaper_answer():
    wide, deep = contender("wide", 5000, 5), contender("deep", 100, 6)
    wide.work, deep.work = Work(1, 1, 1, 1e-4), Work(1, 1, 1, 9e-4)
    assert selection.choose([contender("linear", 10, 80), deep, wide], "accuracy", "max")[0] == "wide"
    deep.work = Work(1, 1, 1, 1.001e-4)  # less than two digits tell apart: then the smaller
    assert selection.choose([contender("linear", 10, 80), deep, wide], "accuracy", "max")[0] == "deep"


def counted(step, steps=10, chunk=30, full=100.0):
    one = ContenderState("mlp", 0)
    one.work, one.steps, one.chunk = Work(step, step * steps, full, step), steps, chunk
    return one


def test_a_rung_is_as_long_as_its_work_allows():
    cheap, costly = counted(0.001, full=0.4), counted(0.5)
    assert cheap.full_steps == 400
    assert plan.rung_goal(cheap, 1, 1.0) == 400  # its whole training, in the first rung
    assert plan.rung_goal(cheap, 27, 1.0) == 810  # or so many chunks
    assert plan.rung_goal(cheap, 27, 0.205) == 200  # whole epochs beyond the first
    assert plan.rung_goal(costly, 1, 4.0) == 8
    assert plan.rung_goal(costly, 1, 0.1) == plan.MIN_STEPS  # everyone gets a first rung
    cheap.goal = 30
    assert plan.rung_goal(cheap, 3, 0.0) == 30 + 10 * (plan.MIN_STEPS // 10)


def test_the_plan_grows_with_rows_and_effort_and_ends():
    assert plan.scale(100, 1) == plan.scale(plan.ROWS, 1) == 1 < plan.scale(40_000, 1) <= plan.MAX_GROWTH
    assert plan.scale(100, 2.5) == 2.5
    assert plan.n_finals([counted(1, full=5.0)] * 2, 3, 36.0) == 3
    assert plan.n_finals([counted(1, full=9.0)] * 2, 3, 36.0) == 2
    assert plan.n_finals([counted(1, full=90.0)] * 2, 3, 36.0) == 0
    assert sum(plan.rung_work(rung, 4, 10.0) for rung in (1, 2, 3, 4)) == pytest.approx(10.0)


def test_finals_have_what_the_race_left():
    cheap, costly = counted(0.001, full=0.4), counted(0.5)
    cheap.goal, costly.goal = 400, 8
    broken = ContenderState("cnn", 0)
    assert plan.finals_work([cheap, costly, broken], 100.0) == pytest.approx(100.0 - 0.4 - 4.0)


def test_a_race_cut_off_before_three_were_compared_is_no_choice():
    contenders = [contender("linear", 10, 5), contender("mlp", 100, 6), ContenderState("cnn", 0)]
    with pytest.raises(PipelineError, match=r"2 of 3 architectures .*the whole takes about 42 s here"):
        select._check_compared(contenders, 2.0, 40.0)
    contenders[2].fail("it failed: no weights")
    select._check_compared(contenders, 2.0, 40.0)  # there are no more than two


def test_architectures_that_fail_are_not_called_slow(candidates):
    one = ContenderState("mlp", 0)
    one.reason, one.failed = "it failed: no weights", True
    names, paths = ["linear", "mlp"], Paths(candidates, "diabetes")
    why = selection.decide([ContenderState("linear", 0), one], names, paths, None)["why"]
    assert why == "none could be trained (mlp: it failed: no weights): it is the simplest"


def test_an_architecture_that_does_not_fit_is_refused(candidates):
    paths = Paths(candidates, "diabetes")
    with pytest.raises(PipelineError, match="cnn does not fit"):
        select.run(SelectConfig(architectures=["cnn"]), paths, task="regression")
    with pytest.raises(PipelineError, match="did you mean 'mlp'"):
        select.run(SelectConfig(architectures=["mpl"]), paths, task="regression")


def test_one_that_is_asked_for_alone_is_taken_without_a_race(candidates):
    paths = Paths(candidates, "diabetes")
    choice = select.run(SelectConfig(architectures=["mlp"]), paths, task="regression")
    assert choice["architecture"] == "mlp"
    assert choice["data_version"] == folder_version(paths.ready)  # so tune depends on the rows through the choice
    assert "only architecture asked for" in choice["why"]
    assert choice["leaderboard"] == []


@pytest.mark.parametrize(
    "wrong",
    [{"time_budget_s": 0}, {"effort": 0}, {"seeds": 0}, {"reduction_factor": 1}, {"rungs": [3, 1]}, {"rungs": []}],
)
def test_a_wrong_number_is_refused(wrong):
    with pytest.raises(PipelineError, match=next(iter(wrong))):
        build(SelectConfig, wrong, "select")
