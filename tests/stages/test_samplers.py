"""Samplers, limits and objectives of a search: each choice is a function of the trials before it."""

import dataclasses
import math

import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.stages.trials.early_stopping import is_promoted
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.proposals import Finished
from evergreen.stages.trials.ranking import front, order
from evergreen.stages.trials.samplers import BATCH, check_sampler, propose, weigh_options
from evergreen.stages.trials.space import Search, excess
from evergreen.stages.trials.trial_table import list_trials, write_parquet
from evergreen.stages.tune.config import TuneConfig
from evergreen.stages.tune.decision import decide

OWN = {"learning_rate": 1e-3, "dropout": 0.0, "size": 1.0}
SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "dropout": [0.0, 0.1, 0.2], "size": [0.5, 1.0]}
SEARCH = Search("/ready", "v", "classification", "mlp", OWN, ("log_loss", "min"), 5, 9, space=SPACE)


def finished(number, options, score, **counts):
    curve = [-score - 1 / (step + 1) for step in range(9)]
    facts = {"number": number, "options": options, "score": score, "rank": -score, "curve": curve}
    return facts | {"state": "finished", "epochs": 9, "seconds": 1.0, **({"counts": counts} if counts else {})}


def searched(search, trials):
    """Ask and answer so many trials; the score is that of the learning rate."""
    done, asked = {}, []
    for batch in range(-(-trials // BATCH)):
        asked += propose(search, done, batch)
        for number in range(batch * BATCH, (batch + 1) * BATCH):
            far = abs(math.log(asked[number]["learning_rate"] / 1e-2))
            done[number] = finished(number, asked[number], far, parameters=int(1000 * asked[number]["size"]))
    return asked[:trials]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", pytest.param("gp", marks=pytest.mark.slow)])
def test_a_sampler_proposes_the_same_after_the_same_trials_and_more_trials_go_on(sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    search = dataclasses.replace(SEARCH, sampler=sampler)
    trials = 2 if sampler == "gp" else 10
    few, many = searched(search, trials), searched(search, 2 * trials)
    assert many[:trials] == few
    assert few[0] == OWN
    assert len({str(point) for point in many}) >= 2 * trials - 1
    assert searched(dataclasses.replace(search, seed=6), trials) != few


def test_choices_of_a_search_key_its_ledger_and_the_usual_ones_do_not():
    plain = Search("/ready", "v", "classification", "mlp", OWN, ("log_loss", "min"), 5, 9)
    assert set(plain.context()) == {"task", "architecture", "seed", "data", "stretches"}
    for change in ({"sampler": "gp"}, {"scheduler": "none"}, {"space": SPACE}, {"constraints": ["parameters <= 9"]}):
        assert dataclasses.replace(plain, **change).context() != plain.context()
    assert dataclasses.replace(plain, repeats=3, error=0.1).context() == plain.context()


def test_cmaes_without_its_package_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(PipelineError, match="needs the package cmaes; pip install cmaes"):
        check_sampler("cmaes")


def test_what_breaks_a_limit_counts_against_its_options_alone():
    search = dataclasses.replace(SEARCH, constraints=["parameters <= 600"])
    done = {}
    for number in range(24):
        options = OWN | {"size": [0.5, 1.0][number % 2], "learning_rate": 10 ** -(1.5 + number % 5 / 2)}
        done[number] = finished(number, options, 0.3, parameters=int(1000 * options["size"]))
        if number % 2:
            done[number] |= {"score": None, "rank": None, "curve": None, "state": "breaks parameters <= 600"}
    sizes = [point["size"] for batch in range(3, 6) for point in propose(search, done, batch)]
    assert sizes.count(0.5) > sizes.count(1.0)
    assert excess("parameters <= 600", {"parameters": 900}) == 0.5


def test_an_own_range_may_leave_the_defaults_out():
    search = dataclasses.replace(SEARCH, space={"learning_rate": {"low": 0.01, "high": 0.1}})
    search = dataclasses.replace(search, defaults={"learning_rate": 1e-3})
    done = {
        number: finished(number, {"learning_rate": 1e-3 if not number else 0.02 * number}, 0.1) for number in range(4)
    }
    assert all(0.01 <= point["learning_rate"] <= 0.1 for point in propose(search, done, 1))


def test_the_median_stops_what_is_below_it_and_none_stops_nothing():
    done = {number: finished(number, OWN, number / 10) for number in range(BATCH)}
    at_second = sorted(entry["curve"][1] for entry in done.values())
    median, none = (dataclasses.replace(SEARCH, scheduler=name) for name in ("median", "none"))
    assert is_promoted(median, done, BATCH, 2, {"rank": at_second[2]})
    assert not is_promoted(median, done, BATCH, 2, {"rank": at_second[1]})
    assert is_promoted(SEARCH, done, BATCH, 2, {"rank": -9.0})  # no rung of halving
    assert is_promoted(none, done, BATCH, 3, {"rank": -9.0})


def test_where_smallness_counts_the_smallest_goes_on():
    search = dataclasses.replace(SEARCH, objective=["parameters"])
    done = {number: finished(number, OWN, 0.1, parameters=500) for number in range(BATCH)}
    assert not is_promoted(search, done, BATCH, 3, {"rank": -9.0, "parameters": 500})
    assert is_promoted(search, done, BATCH, 3, {"rank": -9.0, "parameters": 499})


def test_the_smallest_within_one_standard_error_is_chosen():
    search = dataclasses.replace(SEARCH, objective=["parameters"], error=0.05)
    small, other = OWN | {"size": 0.5}, OWN | {"dropout": 0.2}
    done = [
        finished(0, OWN, 0.30, parameters=1000),
        finished(1, small, 0.32, parameters=500),
        finished(2, other, 0.29, parameters=1000),
        finished(3, OWN | {"size": 0.5, "dropout": 0.2}, 0.40, parameters=400),
    ]
    choice = decide(search, done, [])
    assert choice["options"] == small
    assert choice["front"] == [1, 2, 3]
    assert choice["why"].startswith("least parameters 500 of 4 trials within one standard error (0.05) of the best")
    assert [row["number"] for row in order(search, done)] == [1, 2, 0, 3]
    assert front(search, done) == done[1:]


def test_defaults_that_break_a_limit_do_not_stay():
    search = dataclasses.replace(SEARCH, constraints=["parameters <= 600"])
    broken = finished(0, OWN, 0.1, parameters=1000) | {"score": None, "state": "breaks parameters <= 600"}
    kept = finished(1, OWN | {"size": 0.5}, 0.9, parameters=500)
    assert decide(search, [broken, kept], [])["options"] == kept["options"]
    with pytest.raises(PipelineError, match="none of 1 trials keeps parameters <= 600; the least parameters were"):
        decide(search, [broken], [])


def test_the_mean_of_repeats_decides_between_the_best():
    search = dataclasses.replace(SEARCH, repeats=3)
    points = [OWN, *(OWN | {"learning_rate": rate} for rate in (2e-3, 3e-3, 4e-3, 5e-3))]
    known = Finished(finished(n, points[n], score) for n, score in enumerate((0.5, 0.1, 0.2, 0.3, 0.4)))
    wanted = known.pending_repeats(search, 5)
    assert wanted == [(n, repeat) for repeat in (1, 2) for n in (1, 2, 3, 0)]  # the best three, and the defaults
    assert known.pending_repeats(search, 6) == []  # trials come first
    for number, repeat in wanted:
        known.add(finished(number, points[number], 0.9 if number == 1 else 0.2) | {"repeat": repeat})
    assert known.pending_repeats(search, 5) == []
    choice = decide(search, [*known.trials.values()], [], known)
    assert choice["trial"] == 2  # the first was lucky
    assert choice["score"] == pytest.approx(0.2)
    assert choice["trials"][1]["scores"] == [0.1, 0.9, 0.9]
    assert choice["why"].endswith("; the mean of 3 seeds decided between 4")
    assert decide(search, [*known.trials.values()], [])["trial"] == 1


def test_importance_names_what_decides():
    search = dataclasses.replace(SEARCH, sampler="random")
    asked = searched(search, 20)
    entries = [finished(n, point, abs(math.log(point["learning_rate"] / 1e-2))) for n, point in enumerate(asked)]
    shares = weigh_options(search, entries)
    assert next(iter(shares)) == "learning_rate"
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert weigh_options(search, entries[:7]) == {}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sampler": "grid"}, "sampler must be one of tpe, random, cmaes, gp"),
        ({"sampler": "cmaes", "objective": ["parameters min"]}, "cmaes serves the score alone"),
        ({"objective": ["accuracy max"]}, "must be one of parameters min"),
        ({"constraints": ["latency <= 5"]}, "'latency <= 5' is no limit; write parameters <= 1e6"),
        ({"constraints": ["parameters <= 0"]}, "is no limit"),
        ({"space": {"dropout": [0.1]}}, "space.dropout must be at least 2 choices that differ"),
        ({"space": {"dropout": {"low": 0.5, "hihg": 1}}}, "unknown key 'hihg'; did you mean 'high'"),
        ({"space": {"dropout": {"low": 0.5}}}, "space.dropout.high must be a number"),
        ({"space": {"dropout": {"low": 0.5, "high": 0.1}}}, "low must be below high"),
        ({"space": {"dropout": {"low": 0, "high": 1, "log": True}}}, "above 0 with log: true"),
        ({"space": {"epochs": [1, 2]}}, "epochs is the same in all trials"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_a_wrong_wish_is_one_line_with_the_fix(wrong, words):
    with pytest.raises(PipelineError) as caught:
        build(TuneConfig, wrong, "tune")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_who_says_how_to_search_asks_for_a_search():
    wishes = {"sampler": "gp"}, {"space": {"dropout": [0.1, 0.2]}}, {"constraints": ["parameters <= 9"]}, {"repeats": 3}
    assert [build(TuneConfig, wish, "tune").planned_effort for wish in wishes] == [1.0] * 4


def test_trials_are_listed_and_exported(tmp_path):
    import pyarrow.parquet as pq

    paths = Paths(tmp_path, "small")
    assert list_trials(paths) == []
    for context, number in (({"data": "a"}, 0), ({"data": "b"}, 1), ({"data": "b"}, 0)):
        options = OWN | {"rule": "abc"[number]}
        facts = finished(number, options, 0.5)
        Ledger(paths.trials, context).add(options | {"number": number}, facts)
    rows = list_trials(paths)
    assert [(row["number"], row["score"], row["rungs"]) for row in rows] == [(0, 0.5, 9), (1, 0.5, 9)]
    every = list_trials(paths, every=True)
    assert len(every) == 3
    assert len({row["search"] for row in every}) == 2
    write_parquet(every, tmp_path / "trials.parquet")
    table = pq.read_table(tmp_path / "trials.parquet")
    assert table["option_learning_rate"].to_pylist() == [1e-3] * 3
    assert table["option_rule"].to_pylist() == ["a", "a", "b"]
    assert len(table["curve"][0]) == 9
