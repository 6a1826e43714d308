"""The ledger of trials, and what tune makes of it."""

import os

import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.stages.artifacts import folder_version
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.search import Search, _distribution
from evergreen.stages.tune import stage as tune
from evergreen.stages.tune.config import TuneConfig

OWN = {"weight_decay": 0.02}
SEARCH = Search("/ready", "v", "regression", "linear", OWN, ("r2", "max"), 0)


def entry(value, score):
    return {"options": {"weight_decay": value}, "score": score, "epochs": 1, "seconds": 0.1, "state": "finished"}


def test_the_ledger_gives_back_what_belongs_to_its_context(tmp_path):
    mine, other = Ledger(tmp_path / "t.jsonl", {"data": "a"}), Ledger(tmp_path / "t.jsonl", {"data": "b"})
    mine.add(OWN, {"score": 1.0})
    mine.add(OWN, {"score": 2.0})  # the first one stands
    other.add(OWN, {"score": 3.0})
    assert [one["score"] for one in mine.entries()] == [1.0]
    assert mine.entries()[0]["options"] == OWN


def test_a_torn_line_costs_that_trial_alone(tmp_path):
    ledger = Ledger(tmp_path / "t.jsonl", {})
    ledger.add({"a": 1}, {"score": 1.0})
    with ledger.path.open("a") as file:
        file.write('{"context": "')
    ledger.add({"a": 2}, {"score": 2.0})
    assert [one["score"] for one in ledger.entries()] == [1.0, 2.0]


def test_defaults_that_win_are_said_and_change_nothing():
    choice = tune._decide(SEARCH, [entry(0.5, 0.4), entry(0.02, 0.4)], [], 0.0)
    assert choice["options"] == {}
    assert choice["trial"] == 1
    assert "the defaults reach the best r2" in choice["why"]


def test_a_better_point_wins_and_a_cut_one_cannot():
    choice = tune._decide(SEARCH, [entry(0.02, 0.4), entry(0.5, 0.5)], [entry(0.9, 0.99)], 0.05)
    assert choice["options"] == {"weight_decay": 0.5}
    assert choice["score"] == 0.5
    assert len(choice["trials"]) == 3
    assert "the defaults reach 0.4" in choice["why"]


def test_smaller_wins_where_the_metric_says_so():
    search = Search("/ready", "v", "forecasting", "linear", OWN, ("mse", "min"), 0)
    choice = tune._decide(search, [entry(0.02, 0.4), entry(0.5, 0.3)], [], 0.0)
    assert choice["options"] == {"weight_decay": 0.5}


def test_a_gain_within_one_standard_error_is_no_gain():
    choice = tune._decide(SEARCH, [entry(0.02, 0.4), entry(0.5, 0.5)], [], 0.2)
    assert (choice["options"], choice["trial"], choice["score"]) == ({}, 0, 0.4)
    assert "within one standard error (0.2) of theirs" in choice["why"]


def test_without_the_defaults_there_is_nothing_to_compare_with():
    choice = tune._decide(SEARCH, [entry(0.5, 0.5)], [entry(0.02, 0.4)], 0.0)
    assert choice["options"] == {}
    assert "did not finish in time" in choice["why"]


@pytest.mark.parametrize(("seconds", "length"), [(1000, 27), (25, 9), (8, 3)])
def test_trials_are_as_long_as_several_fit_into_the_time(candidates, seconds, length):
    paths = Paths(candidates, "diabetes")
    took = {"epochs": 4, "seconds": 0.2 * (os.cpu_count() or 1)}  # an epoch takes 0.05 s of each core, a stretch four
    assert tune._chunks(TuneConfig(time_budget_s=seconds), paths, "linear", took) == length
    assert tune._chunks(TuneConfig(time_budget_s=seconds), paths, "linear", {"epochs": 0}) == 27


@pytest.mark.parametrize(
    ("seconds", "own", "why"),
    [
        (0, OWN, "no search was asked for (time_budget_s: 0)"),
        (0.5, OWN, "a search takes 11 s to start and was given 0.5"),
        (60, {}, "linear has nothing to search"),
    ],
)
def test_without_a_search_the_defaults_stay_and_it_says_why(candidates, monkeypatch, seconds, own, why):
    paths = Paths(candidates, "diabetes")
    write_json(paths.select, {"architecture": "linear", "leaderboard": []})
    monkeypatch.setattr("evergreen.stages.trials.trial.search_defaults", lambda architecture: own)
    choice = tune.run(TuneConfig(time_budget_s=seconds), paths, task="regression")
    assert choice["options"] == {}
    assert choice["why"] == f"the defaults stay: {why}"
    assert choice["data_version"] == folder_version(paths.ready)  # so train depends on the rows through the options


def test_a_space_in_optunas_words():
    assert _distribution((1e-4, 1.0, "log")).log
    assert not _distribution((0.0, 0.5)).log
    assert _distribution((1, 4)).high == 4
    assert _distribution([1, 2]).choices == (1, 2)


@pytest.mark.parametrize("wrong", [{"time_budget_s": -1}, {"trials": 0}])
def test_a_wrong_number_is_refused(wrong):
    with pytest.raises(PipelineError, match=next(iter(wrong))):
        build(TuneConfig, wrong, "tune")
