"""A trial on real rows: what it builds, how it goes on, what its score says."""

import math

import numpy as np
import pytest

from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepared import read
from evergreen.data.spec import FeatureSpec
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.trials.trial import (
    CHUNK_STEPS,
    Score,
    Trial,
    sampling_note,
    search_defaults,
    split_config_and_options,
)

LONG = 60.0


@pytest.fixture
def make(candidates):
    def trial(name="diabetes", task="regression", architecture="linear", options=None, seed=0, version="v"):
        return Trial(Paths(candidates, name).ready, version, task, architecture, options or {}, seed)

    return trial


def test_trials_on_more_rows_than_fit_see_a_sample_and_say_so(candidates, make, monkeypatch):
    ready = Paths(candidates, "diabetes").ready
    assert sampling_note(ready) == ""
    monkeypatch.setattr("evergreen.data.feed.batches.MEGABYTES", 0.01)
    rows = make(version="sampled").loop.train.rows
    assert rows == int(0.01 * 2**20) // (10 * 4 + 4) // 2
    assert (
        sampling_note(ready)
        == f"; trials saw a sample of {rows} of the {FeatureSpec.load(ready).rows['train']} training rows"
    )


def test_a_trial_sees_rows_as_often_as_their_weight_says(tmp_path):
    paths = Paths(tmp_path, "weighted")
    (tmp_path / "rows.csv").write_text("x,y,often\n" + "\n".join(f"{n},{2 * n},{n % 3}" for n in range(300)))
    collect.run(CollectConfig(uri="rows.csv"), paths)
    preprocess.run(PreprocessConfig(target="y", sample_weight="often"), paths, task="regression")
    held = read(paths.ready, "train")
    feed = Trial(paths.ready, "v", "regression", "linear", {}).loop.train
    assert feed.rows == sum(weight > 0 for weight in held["_weight"].to_pylist())
    assert set(feed.arrays) == {"number", "target"}
    often = np.bincount(feed.drawn(1), minlength=len(held))
    assert not often[held["_weight"].to_numpy() == 0].any()


def test_values_are_the_recipes_or_the_constructors():
    recipe, options = split_config_and_options("mlp", {"learning_rate": 0.5, "dropout": 0.3})
    assert recipe.learning_rate == 0.5
    assert options == {"dropout": 0.3}
    own, _ = split_config_and_options("linear", {})
    assert own.optimizer == "adam"  # the architecture's own recipe


def test_defaults_are_inside_what_is_searched():
    from evergreen.models.registry import find_architecture, list_architectures

    for name in list_architectures():
        for option, value in search_defaults(name).items():
            choice = find_architecture(name).SEARCH_SPACE[option]
            inside = value in choice if isinstance(choice, list) else choice[0] <= value <= choice[1]
            assert inside, f"{name}.{option} is {value}"


def test_a_chunk_is_some_steps_whatever_the_rows(make):
    trial = make()
    assert trial.chunk % trial.steps == 0
    assert trial.chunk >= CHUNK_STEPS > trial.chunk - trial.steps


def test_going_on_in_parts_is_as_good_as_at_once(make):
    parts, whole = make(seed=5), make(seed=5)
    for epochs in (1, 3, 9):
        score = parts.advance(epochs * parts.steps, LONG)
    assert score.epochs == 9
    assert whole.advance(9 * whole.steps, LONG).value == score.value
    assert make(seed=6).advance(9 * whole.steps, LONG).value != score.value


def test_work_is_counted_and_not_timed(make):
    linear, mlp = make(), make(architecture="mlp")
    assert linear.work() == make().work()
    assert 0 < linear.work().step < mlp.work().step
    assert linear.work().answer < mlp.work().answer
    assert mlp.loop.step == 0  # and trains nothing


def test_what_is_counted_is_that_of_the_network(make):
    trial = make("digits", "classification")
    counts = trial.counts()
    assert counts["parameters"] == trial.parameters == 64 * 10 + 10
    assert counts["operations"] == 2 * 64 * 10
    assert counts["size_bytes"] >= 4 * counts["parameters"]


def test_no_time_is_scored_as_it_stands(make):
    score = make().advance(27, 0.0)
    assert score.epochs == 0
    assert math.isfinite(score.value)


def test_the_standard_error_is_that_of_a_mean(make):
    trial = make("breast_cancer", "classification")
    loss, scores = trial.advance(9, LONG).value, np.array(trial.row_scores())
    assert loss == pytest.approx(scores.mean(), rel=1e-5)
    assert trial.standard_error() == pytest.approx(scores.std() / math.sqrt(len(scores)), rel=0.3)


def test_the_lower_loss_decides_between_equal_values():
    one, other = Score(0.9, 0.3, 1, 1.0), Score(0.9, 0.2, 1, 1.0)
    assert other.better(one, "max")
    assert Score(1.0, 0.3, 1, 1.0).better(Score(2.0, 0.1, 1, 1.0), "min")


def test_what_a_trial_gained_lately_is_that_of_its_last_doubling(make):
    trial = make()
    trial.advance(trial.steps, 60.0)
    assert trial.recent_gain() is None  # one epoch tells no slope
    trial.advance(4 * trial.steps, 60.0)
    best = [key[0] for key in trial.loop.history.sort_keys]
    assert trial.recent_gain() == max(best) - max(best[:2]) > 0
