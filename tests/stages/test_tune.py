"""The ledger of trials, and what tune makes of it."""

import dataclasses

import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.stages.artifacts import folder_version
from evergreen.stages.trials import search_plan as plan
from evergreen.stages.trials.early_stopping import is_promoted
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.samplers import BATCH, propose
from evergreen.stages.trials.space import Search, distribution
from evergreen.stages.tune import stage as tune
from evergreen.stages.tune.config import TuneConfig
from evergreen.stages.tune.decision import decide
from evergreen.stages.tune.planned_search import open_search

OWN = {"prior": 0.02}
SEARCH = Search("/ready", "v", "regression", "linear", OWN, ("r2", "max"), 0, 27)


def within(error):
    return dataclasses.replace(SEARCH, error=error)


def entry(value, score):
    return {"options": {"prior": value}, "score": score, "epochs": 1, "seconds": 0.1, "state": "finished"}


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
    choice = decide(SEARCH, [entry(0.5, 0.4), entry(0.02, 0.4)], [])
    assert choice["options"] == {}
    assert choice["trial"] == 1
    assert "the defaults reach the best r2" in choice["why"]


def test_a_better_point_wins_and_a_cut_one_cannot():
    choice = decide(within(0.05), [entry(0.02, 0.4), entry(0.5, 0.5)], [entry(0.9, 0.99)])
    assert choice["options"] == {"prior": 0.5}
    assert choice["score"] == 0.5
    assert len(choice["trials"]) == 3
    assert "the defaults reach 0.4" in choice["why"]


def test_smaller_wins_where_the_metric_says_so():
    search = Search("/ready", "v", "forecasting", "linear", OWN, ("mse", "min"), 0, 27)
    choice = decide(search, [entry(0.02, 0.4), entry(0.5, 0.3)], [])
    assert choice["options"] == {"prior": 0.5}


def test_a_gain_within_one_standard_error_is_no_gain():
    choice = decide(within(0.2), [entry(0.02, 0.4), entry(0.5, 0.5)], [])
    assert (choice["options"], choice["trial"], choice["score"]) == ({}, 0, 0.4)
    assert "within one standard error (0.2) of theirs" in choice["why"]


def test_without_the_defaults_there_is_nothing_to_compare_with():
    choice = decide(SEARCH, [entry(0.5, 0.5)], [entry(0.02, 0.4)])
    assert choice["options"] == {}
    assert "did not finish in time" in choice["why"]


@pytest.mark.parametrize(
    ("chunk", "chunks", "trials"), [(0.1, 27, 20), (0.3, 9, 20), (1.0, 3, 20), (4.0, 3, 3), (20, 3, 0)]
)
def test_a_search_is_as_long_as_its_work_allows(chunk, chunks, trials):
    sized = plan.size(20, chunk, 40.0)
    assert (sized.chunks, sized.trials) == (chunks, trials)
    assert plan.size(2, chunk, 40.0).trials == min(2, trials)
    assert plan.size(40, 0.1, 40.0).chunks == plan.size(20, 0.1, 40.0).chunks  # so more trials go on from the fewer


@pytest.mark.parametrize(
    ("wishes", "own", "why"),
    [
        ({"time_budget_s": 0}, OWN, "no search was asked for"),
        ({"effort": 0}, OWN, "no search was asked for"),
        ({}, OWN, "no search was asked for"),
        ({"trials": 4, "effort": 0}, OWN, "no search was asked for"),
        ({"effort": 1}, {}, "linear has nothing to search"),
        ({"effort": 1e-9}, OWN, "a trial is more work than a whole search may be (a larger effort allows it)"),
    ],
)
def test_without_a_search_the_defaults_stay_and_it_says_why(candidates, monkeypatch, wishes, own, why):
    paths = Paths(candidates, "diabetes")
    write_json(paths.select, {"architecture": "linear", "leaderboard": []})
    monkeypatch.setattr("evergreen.stages.trials.trial.search_defaults", lambda architecture, names: own)
    choice = tune.run(TuneConfig(**wishes), paths, task="regression")
    assert choice["options"] == {}
    assert choice["why"] == f"the defaults stay: {why}"
    assert choice["data_version"] == folder_version(paths.ready)  # so train depends on the rows through the options


def test_the_first_trial_begins_where_select_ended(candidates):
    paths = Paths(candidates, "diabetes")
    options = {"prior": 8.0, "batch_size": 128}
    write_json(paths.select, {"architecture": "linear", "leaderboard": [], "options": options})
    opened = open_search(TuneConfig(trials=4), paths, "regression").search
    assert propose(opened, {}, 0)[0] == {"prior": 8.0}
    assert opened.selected == options  # what is not searched stays in every trial
    write_json(paths.select, {"architecture": "linear", "leaderboard": []})
    plain = open_search(TuneConfig(trials=4), paths, "regression").search
    assert "selected" not in plain.context() != opened.context()  # their trials do not compare


def test_who_names_trials_or_seconds_asks_for_a_search():
    asked = {"trials": 4}, {"time_budget_s": 9.0}, {"effort": 2}, {"seed": 3}, {"time_budget_s": 0}
    assert [TuneConfig(**wishes).planned_effort for wishes in asked] == [1.0, 1.0, 2.0, 0.0, 0.0]


def test_a_space_in_optunas_words():
    assert distribution((1e-4, 1.0, "log")).log
    assert not distribution((0.0, 0.5)).log
    assert distribution((1, 4)).high == 4
    assert distribution([1, 2]).choices == (1, 2)


@pytest.mark.parametrize("wrong", [{"time_budget_s": -1}, {"trials": 0}, {"effort": -1}])
def test_a_wrong_number_is_refused(wrong):
    with pytest.raises(PipelineError, match=next(iter(wrong))):
        build(TuneConfig, wrong, "tune")


def finished(number, rank, curve=()):
    options = {"prior": 0.01 * (number + 1)}
    return {"number": number, "options": options, "score": rank, "rank": rank, "curve": list(curve) or [rank] * 27}


def test_a_batch_follows_from_the_batches_before_it_alone():
    done = {number: finished(number, number / 10) for number in range(BATCH)}
    first = propose(SEARCH, {}, 0)
    assert first[0] == OWN
    assert len({str(point) for point in first}) == BATCH  # concurrent ones differ
    assert propose(SEARCH, {}, 0) == first
    assert propose(SEARCH, done, 1) == propose(SEARCH, dict(reversed(done.items())) | {BATCH: finished(BATCH, 9)}, 1)
    assert propose(SEARCH, done, 1) != first


def test_a_trial_is_stopped_by_those_of_earlier_batches_alone():
    done = {number: finished(number, number / 10) for number in range(BATCH)}
    assert is_promoted(SEARCH, {}, 0, 3, {"rank": -1.0})  # nothing to compare with
    assert is_promoted(SEARCH, done, BATCH, 3, {"rank": 0.2})
    assert not is_promoted(SEARCH, done, BATCH, 3, {"rank": 0.1})
    assert is_promoted(SEARCH, done, BATCH, 4, {"rank": 0.1})  # between two rungs
    done[BATCH] = finished(BATCH, 9.0)  # one of the same batch, which happened to end before
    assert is_promoted(SEARCH, done, BATCH + 1, 3, {"rank": 0.2})
    failed = finished(0, None) | {"curve": None, "score": None}
    assert is_promoted(SEARCH, {**done, 0: failed}, BATCH, 9, {"rank": 0.3})
