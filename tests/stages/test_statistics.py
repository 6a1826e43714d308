"""The statistics against what scipy and the papers say."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from evergreen.stages.validate.statistics import (
    block_length,
    bootstrap,
    compare,
    resamples,
    rows_needed,
    tango_interval,
)


@pytest.mark.parametrize(("won", "lost"), [(9, 1), (3, 3), (0, 7), (20, 4), (0, 0)])
def test_mcnemar_is_the_exact_binomial_test(won, lost):
    first = np.array([1.0] * won + [0.0] * lost + [1.0] * 100)
    second = np.array([0.0] * won + [1.0] * lost + [1.0] * 100)
    found = compare(first, second)
    assert found.test == "exact McNemar"
    assert found.p == pytest.approx(stats.binomtest(won, won + lost).pvalue if won + lost else 1, abs=1e-12)
    assert found.difference == tango_interval(won, lost, 100 + won + lost, 0.95)


def test_tangos_interval_is_the_published_one():
    found = tango_interval(1, 7, 21, 0.95)  # Fagerland, Lydersen and Laake 2014, airway hyper-responsiveness
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    mirrored = tango_interval(7, 1, 21, 0.95)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((found.low, found.high))
    z2 = 1.959964**2  # rows that never differ still leave a doubt
    assert tango_interval(0, 0, 100, 0.95).high == pytest.approx(z2 / (100 + z2), rel=1e-5)
    assert tango_interval(21, 0, 21, 0.95).high == pytest.approx(1.0)


def test_tangos_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    draws = random.multinomial(366, [0.012, 0.004, 0.984], size=1000)
    held = [
        (found := tango_interval(int(won), int(lost), 366, 0.95)).low <= 0.008 <= found.high for won, lost, _ in draws
    ]
    assert 0.93 <= np.mean(held) <= 0.99


def test_the_paired_bootstrap_agrees_with_the_t_test():
    random = np.random.default_rng(5)
    first = random.normal(0, 1, 200)
    second = first + random.normal(0.1, 0.5, 200)
    found, theirs = compare(first, second, times=4000), stats.ttest_rel(first, second)
    bounds = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue, abs=0.02)
    assert (found.difference.low, found.difference.high) == pytest.approx((bounds.low, bounds.high), abs=0.01)
    assert found.deviation == pytest.approx((first - second).std(), rel=0.05)


def test_the_bootstrap_is_scipys_and_is_seeded():
    values = np.random.default_rng(1).exponential(2.0, 150)

    def score(rows, others):
        assert (rows == others).all()
        return {"mean": float(values[rows].mean())}

    ours = bootstrap(score, 150, times=4000, confidence=0.9, seed=3)["mean"]
    theirs = stats.bootstrap((values,), np.mean, confidence_level=0.9, method="percentile", n_resamples=4000)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03)
    assert ours == bootstrap(score, 150, times=4000, confidence=0.9, seed=3)["mean"]
    assert ours != bootstrap(score, 150, times=4000, confidence=0.9, seed=4)["mean"]


def test_blocks_widen_the_interval_of_rows_that_resemble_their_neighbours():
    random = np.random.default_rng(2)
    noise, series = random.normal(size=400), [0.0]
    for one in noise:
        series.append(0.8 * series[-1] + one)
    values, block = np.array(series[1:]), block_length(400, ordered=True)
    single = compare(values, np.zeros(400)).difference
    blocked = compare(values, np.zeros(400), block=block).difference
    assert block == 8
    assert blocked.high - blocked.low > 1.4 * (single.high - single.low)


def test_blocks_are_whole_and_go_round():
    rows = next(resamples(10, 3, block=4, seed=0))
    assert rows.shape == (3, 10)
    steps = np.diff(rows[:, :4]) % 10
    assert (steps == 1).all()
    assert block_length(10, ordered=False) == 1
    assert block_length(30, ordered=True, overlap=12) == 12


def test_many_rows_are_drawn_in_pieces():
    pieces = list(resamples(1_500_000, 3))
    assert [piece.shape for piece in pieces] == [(1, 1_500_000)] * 3


@pytest.mark.parametrize(("difference", "deviation"), [(0.02, 0.2), (0.5, 1.0), (-0.1, 0.3)])
def test_rows_needed_gives_the_power_it_promises(difference, deviation):
    rows = rows_needed(difference, deviation)
    spread = math.sqrt(deviation**2 + difference**2)  # under the null the rows differ as often, around zero
    z = NormalDist().inv_cdf(0.975)
    power = 1 - NormalDist().cdf((z * spread - abs(difference) * math.sqrt(rows)) / deviation)
    assert power == pytest.approx(0.8, abs=0.01)


def test_rows_needed_by_simulation():
    random, rows = np.random.default_rng(0), rows_needed(0.05, math.sqrt(0.11 - 0.05**2))  # won 8%, lost 3%
    draws = random.multinomial(rows, [0.08, 0.03, 0.89], size=400)
    found = [stats.binomtest(int(won), int(won + lost)).pvalue < 0.05 for won, lost, _ in draws]
    assert 0.7 < np.mean(found) < 0.9
    with pytest.raises(ValueError, match="zero"):
        rows_needed(0.0, 1.0)


def test_bounds_of_few_rows_are_as_wide_as_students():
    values = np.random.default_rng(0).normal(size=12)
    found = bootstrap(lambda rows, _: {"mean": float(values[rows].mean())}, 12, times=20_000, confidence=0.95)["mean"]
    theirs = stats.t.interval(0.95, 11, values.mean(), values.std(ddof=1) / 12**0.5)
    assert (found.low, found.high) == pytest.approx(theirs, rel=0.1)


def test_rows_that_were_never_seen_wrong_still_leave_a_doubt():
    right = np.ones(40)

    def score(rows, others):
        return {"accuracy": float((rows % 2 == others % 2).mean())}  # the parity of its number is a row's class

    assert bootstrap(score, len(right), times=1000, confidence=0.95)["accuracy"].low == 1
    found = bootstrap(score, len(right), times=1000, confidence=0.95, strays=1)["accuracy"]
    assert 0.9 < found.low < 0.98
    assert found.high == 1
    held = []
    for seed in range(200):  # a model that is right on 19 of 20 rows
        is_right = np.random.default_rng(seed).random(40) < 0.95

        def accuracy(rows, others, is_right=is_right):
            return {"accuracy": float(((rows % 2 == others % 2) == is_right[rows]).mean())}

        found = bootstrap(accuracy, 40, times=200, confidence=0.95, strays=1, seed=seed)["accuracy"]
        held.append(found.low <= 0.95 <= found.high)
    assert np.mean(held) >= 0.93
