"""What a run is, what decides its name, and what becomes of it; training under Ray is in tests/slow."""

import dataclasses
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from evergreen.core.config import build
from evergreen.core.errors import DataError, PipelineError
from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.data.feed.batches import load_encoded_split
from evergreen.data.feed.stream import StreamedBatches
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import find_architecture
from evergreen.models.training.config import TrainingConfig
from evergreen.stages.artifacts import load_model
from evergreen.stages.train import cross_validation, ray_train, worker
from evergreen.stages.train import stage as train
from evergreen.stages.train.config import OWN, RECIPE, TrainConfig
from evergreen.stages.train.plan import plan_run
from evergreen.stages.trials import out_of_fold

EPOCHS = {"epochs": 2}


@pytest.fixture
def paths(candidates, tmp_path):
    """Prepared diabetes in a root of its own."""
    paths = Paths(tmp_path, "diabetes")
    paths.ready.parent.mkdir(parents=True)
    paths.ready.symlink_to(Paths(candidates, "diabetes").ready)
    write_json(paths.select, {"architecture": "mlp"})
    return paths


def config(**params):
    """A run on the training rows alone, where nothing else is said."""
    return TrainConfig(**{"train_on_validation": False, **params})


def plan(paths, **params):
    return plan_run(config(**params), paths, "regression")


def test_yaml_then_tuned_then_the_architecture_then_the_recipe(paths):
    write_json(paths.tune, {"architecture": "linear", "options": {"weight_decay": 0.7}, "trial": 4})
    made = plan(paths)
    assert made.architecture == "linear"
    assert made.trial == 4
    assert made.recipe["weight_decay"] == 0.7
    assert made.recipe["learning_rate"] == find_architecture("linear").DEFAULTS["learning_rate"]
    assert made.recipe["batch_size"] == TrainingConfig().batch_size
    assert plan(paths, weight_decay=0.1).recipe["weight_decay"] == 0.1


def test_tuned_options_of_the_constructor_reach_it(paths):
    write_json(paths.tune, {"architecture": "mlp", "options": {"dropout": 0.4, "clip": 1.0}})
    assert plan(paths).options == {"dropout": 0.4}
    assert plan(paths).recipe["clip"] == 1.0


def test_the_name_of_a_run_follows_what_decides_its_result(paths):
    first = plan(paths)
    assert plan(paths) == first
    for change in ({"epochs": 3}, {"seed": 1}, {"precision": "bfloat16"}, {"device": "cpu"}):
        assert plan(paths, **change).folder != first.folder, change
    for change in (
        {"workers": 2},
        {"workers": "2..8"},
        {"checkpoint_seconds": 1.0},
        {"max_failures": 9},
        {"storage_bytes": 1},
        {"memory_mb": 99},
    ):
        assert plan(paths, **change).folder == first.folder, change


def test_refit_trains_on_the_validation_rows_too_and_claims_no_score(paths):
    made = plan(paths, train_on_validation=True, **EPOCHS)
    rows = [worker.build_trainer(one).train.rows for one in (plan(paths, **EPOCHS), made)]
    spec = FeatureSpec.load(paths.ready)
    assert rows == [spec.rows["train"], spec.rows["train"] + spec.rows["validation"]]
    assert made.recipe["keep"] == "last"
    before = dataclasses.replace(made, refit=False).in_folder(paths.run_folder)
    for one in (made, before):
        worker.build_trainer(one).run()
    train.run(TrainConfig(train_on_validation=True, **EPOCHS), paths, task="regression")
    card = read_json(paths.candidate / "model.json")
    assert card["refit"]
    assert card["scores"] == {}
    refitted, held = worker.build_trainer(made).best_state(), worker.build_trainer(before).best_state()
    kept = load_model(paths.candidate).network.state_dict()
    assert torch.equal(kept["architecture.layers.0.0.weight"], refitted["architecture.layers.0.0.weight"])
    assert kept["task.margin"] == held["task.margin"] > refitted["task.margin"]  # new rows lie in it as promised


def fold_by_fold(paths, **params):
    """Plan a run of few rows and train its folds, without Ray."""
    made = cross_validation.limit_folds(plan_run(TrainConfig(**params), paths, "regression"))
    for number in range(made.folds):
        cross_validation.train_fold(made, number)
    return made


def test_few_rows_are_all_learned_from_and_folds_tell_how_far_answers_are_off(paths):
    made = fold_by_fold(paths, **EPOCHS)
    assert (made.refit, made.folds) == (True, 5)
    worker.build_trainer(made).run()
    summary = train.run(TrainConfig(**EPOCHS), paths, task="regression")  # without Ray
    spec, card, model = (
        FeatureSpec.load(paths.ready),
        read_json(paths.candidate / "model.json"),
        load_model(paths.candidate),
    )
    n_rows = spec.rows["train"] + spec.rows["validation"]
    output, target = cross_validation.load(made).facts(2)
    encoded = [load_encoded_split(paths.ready, split)["target"] for split in ("train", "validation")]
    assert torch.equal(target.sort().values, torch.as_tensor(np.concatenate(encoded)).sort().values)
    errors = (output - target).abs().sort().values
    assert model.network.task.margin == errors[math.ceil((n_rows + 1) * 0.9) - 1]
    assert card["folds"] == 5
    assert summary["r2"] == card["scores"]["r2"] == model.network.task.metrics(output, target)["r2"]
    assert torch.equal(
        model.network.state_dict()["task.head.weight"], worker.load_finished(made).weights["task.head.weight"]
    )


def test_a_fold_learns_from_the_rows_of_the_others_in_their_shares(paths):
    loops = [out_of_fold.build_fold(dataclasses.replace(plan(paths, **EPOCHS), folds=5), fold) for fold in range(5)]
    held = [len(loop.validation["target"]) for loop in loops]
    rows = FeatureSpec.load(paths.ready).rows
    assert sum(held) == rows["train"] + rows["validation"]
    assert max(held) - min(held) <= 1
    assert [loop.train.rows + n_held for loop, n_held in zip(loops, held, strict=True)] == [sum(held)] * 5


@pytest.mark.parametrize(
    "settings", [{"train_on_validation": False}, {"restore": "best"}, {"early_stopping_patience": 3}]
)
def test_what_a_person_sets_against_folds_stays(paths, settings):
    made = plan_run(TrainConfig(**settings), paths, "regression")
    assert (made.refit, made.folds) == (False, 0)


def test_folds_that_are_too_much_work_are_left_out(paths, monkeypatch):
    made = plan_run(TrainConfig(), paths, "regression")
    full = cross_validation.limit_folds(made)
    monkeypatch.setattr(cross_validation, "WORK", 0.0)
    less = cross_validation.limit_folds(made)
    assert (full.folds, less.folds, less.refit) == (5, 0, False)
    assert less.folder == plan(paths).folder != full.folder


@pytest.mark.slow
def test_folds_choose_the_epochs_that_nobody_has_set(paths):
    made = fold_by_fold(paths, learning_rate=0.02, batch_size=64, options={"dropout": 0.0})
    found, task = cross_validation.load(made), worker.build_network(made)[0].task
    n_epochs = math.ceil(400 / math.ceil(len(found.target) * 0.8 / 64))
    assert len(found.outputs) == n_epochs > made.recipe["epochs"]
    settled = cross_validation.settle(made, found)
    last = settled.recipe["stop_epoch"]
    assert settled.recipe == made.recipe | {"epochs": n_epochs, "stop_epoch": last, "keep": "last"}
    r2 = [task.metrics(output, found.target)["r2"] for output in found.outputs]
    assert 1 + np.argmax(r2) <= last < n_epochs
    assert r2[last - 1] > r2[-1]
    worker.build_trainer(settled).run()
    trained = worker.load_finished(settled)
    assert len(trained.history) == last
    assert torch.equal(found.facts(7)[0], found.outputs[6])


def test_the_last_epoch_that_is_as_good_as_the_best_is_kept(paths):
    task, target = worker.build_network(plan(paths))[0].task, torch.linspace(-1, 1, 100)
    random = torch.Generator().manual_seed(0)
    noise = [torch.randn(100, generator=random) for _ in range(3)]
    errors = [2 * noise[0], noise[0], noise[0] + 0.01 * noise[1], 1.5 * noise[2], torch.full((100,), torch.nan)]
    found = cross_validation.OutOfFold([target + error for error in errors], target)
    assert found.best_epoch(task) == 3


def test_epochs_that_select_chose_are_settled_by_folds_as_it_settled_them(paths):
    write_json(paths.select, {"architecture": "mlp", "options": {"epochs": 120}})
    made = plan_run(TrainConfig(), paths, "regression")
    assert (made.recipe["epochs"], made.settles_epochs) == (120, True)
    assert not plan_run(TrainConfig(epochs=120), paths, "regression").settles_epochs


def test_epochs_that_were_set_stay(paths):
    made = plan_run(TrainConfig(epochs=4), paths, "regression")
    assert made.ending_at(2, 4) == made  # it keeps its last one
    assert out_of_fold.build_fold(made, 0).config.epochs == 4
    best = dataclasses.replace(made, recipe=made.recipe | {"keep": "best"})
    assert best.ending_at(2, 4).recipe == made.recipe | {"stop_epoch": 2, "keep": "last"}


def at(made, folder, **changes):
    """The loop of a plan with another feed, in a folder of its own."""
    return worker.build_trainer(dataclasses.replace(made, folder=str(folder), **changes))


@pytest.mark.parametrize("refit", [False, True])
def test_a_streamed_run_ends_with_the_weights_of_one_from_memory(paths, tmp_path, refit):
    made = plan(paths, train_on_validation=refit, **EPOCHS)
    assert (made.window, made.validation_rows) == (0, 0)
    held, streamed = (at(made, tmp_path / f"{rows}", window=rows) for rows in (0, 10**6))
    small = at(made, tmp_path / "small", window=1, validation_rows=40)
    for loop in (held, streamed, small):
        loop.run()
    assert isinstance(streamed.train, StreamedBatches)
    assert held.history == streamed.history
    assert all(torch.equal(one, streamed.best_state()[name]) for name, one in held.best_state().items())
    assert [len(loop.validation["target"]) for loop in (held, small)] == [
        FeatureSpec.load(paths.ready).rows["validation"],
        40,
    ]


@pytest.mark.slow
def test_a_streamed_run_that_was_killed_goes_on_where_it_was(paths, tmp_path):
    made = plan(paths, checkpoint_seconds=0.0, batch_size=8, **EPOCHS)
    alone, killed = (at(made, tmp_path / name, window=100) for name in ("alone", "killed"))
    alone.run()
    killed.train = Failing(killed.train, after=40)
    with pytest.raises(InterruptedError):
        killed.run()
    again = at(made, tmp_path / "killed", window=100)
    assert again.step == 40
    again.run()
    assert again.history == alone.history
    assert all(torch.equal(one, again.best_state()[name]) for name, one in alone.best_state().items())


class Failing:
    """A feed that breaks after so many batches."""

    def __init__(self, feed, after):
        self.feed, self.left, self.rows, self.steps = feed, after, feed.rows, feed.steps

    def epoch(self, number, start=0):
        for batch in self.feed.epoch(number, start):
            if not self.left:
                raise InterruptedError
            self.left -= 1
            yield batch


def test_rows_beyond_the_memory_are_streamed_and_it_is_said(paths, monkeypatch):
    monkeypatch.setattr("evergreen.data.feed.batches.max_rows_in_memory", lambda spec, splits, megabytes: 50)
    made = plan(paths, memory_mb=7, **EPOCHS)
    assert made.window > 50
    assert made.validation_rows == 50
    history = [{"skipped_rows": 3, "micro_batch": 16}, {"skipped_rows": 1_000}]
    said = train._format_summary(made, {"scores": {"mae": 1.0}, "history": history}, 2)
    troubles = "16 rows at a time for want of memory, 1,003 rows passed over, whose gradient was no number or leapt"
    assert said == f"mlp, {made.window:,} rows shuffled at a time, {troubles}: mae 1 after 2 epochs"


def test_a_feed_that_cannot_be_is_refused_before_hours_are_spent(paths, monkeypatch):
    with pytest.raises(DataError, match=r"train\.class_balanced: a target of kind number has no classes"):
        plan(paths, class_balanced=True)
    with pytest.raises(DataError, match=r"train\.bucket_by_length: rows have no single length"):
        plan(paths, bucket_by_length=True)
    monkeypatch.setattr("evergreen.stages.train.plan.LengthBucketing", lambda spec: None)
    with pytest.raises(PipelineError, match=r"bucket_by_length: mlp needs all rows of one length; .* gru"):
        plan(paths, bucket_by_length=True)


@pytest.mark.parametrize("contradiction", [{"restore": "best"}, {"early_stopping_patience": 3}])
def test_refit_leaves_nothing_to_decide_by(contradiction):
    with pytest.raises(PipelineError, match="train_on_validation"):
        build(TrainConfig, {"train_on_validation": True, **contradiction}, "train")


def test_a_finished_run_is_taken_as_it_is(paths):
    made = plan(paths, **EPOCHS)
    assert worker.load_finished(made) is None
    worker.build_trainer(made).run()
    summary = train.run(config(**EPOCHS), paths, task="regression")  # without Ray
    assert summary["reused"]
    model = load_model(paths.candidate)
    assert model.card["architecture"] == "mlp"
    assert model.card["history"][-1]["epoch"] == 2
    before = {one.name: one.read_bytes() for one in paths.candidate.iterdir()}
    train.run(config(**EPOCHS), paths, task="regression")
    assert {one.name: one.read_bytes() for one in paths.candidate.iterdir()} == before


def test_the_card_has_no_clock_and_the_best_epochs_scores(paths):
    made = plan(paths, **EPOCHS)
    loop = worker.build_trainer(made)
    loop.run()
    train.run(config(**EPOCHS), paths, task="regression")
    card = read_json(paths.candidate / "model.json")
    assert "seconds" not in json.dumps({**card, "recipe": {}})
    assert card["scores"]["r2"] == loop.best[1]["r2"]
    assert card["data_version"] == made.data_version


def test_an_unfinished_run_is_not_taken(paths):
    made = plan(paths, **EPOCHS)
    worker.build_trainer(made).run(epochs=1)
    assert worker.load_finished(made) is None


def test_the_oldest_runs_go_above_the_budget_and_this_one_never(tmp_path):
    for age, name in enumerate(("old", "newer", "kept")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "step").write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (age, age))
    train._remove_old_runs({tmp_path / "kept"}, 250)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "newer"]
    train._remove_old_runs({tmp_path / "kept"}, 10)
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]


def test_what_a_worker_tells_arrives(tmp_path):
    lines, told = tmp_path / "progress.jsonl", []
    lines.write_text('{"epoch": 1}\n')
    with ray_train.forward_progress(lines, lambda **facts: told.append(facts)), lines.open("a") as file:
        file.write('{"epoch": 2}\n{"epoch"')
    assert told == [{"stage": "train", "epoch": 2}]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": "3..2"}, {"workers": "2-3"}, {"max_failures": -1}])
def test_a_wrong_number_is_refused(wrong):
    with pytest.raises(PipelineError, match=next(iter(wrong))):
        build(TrainConfig, wrong, "train")


def test_params_have_every_field_of_the_recipe():
    assert {field.name for field in dataclasses.fields(TrainingConfig)} == {
        RECIPE.get(name, name) for name in TrainConfig.model_fields if name not in OWN
    }


@pytest.mark.parametrize("changes", [{}, {"restore": "last", "ema": 0.9}])
def test_what_a_finished_run_reached_is_loaded_without_its_rows(paths, tmp_path, changes):
    made = plan(paths, **EPOCHS, **changes)
    trainer = worker.build_trainer(made)
    trainer.run()
    (tmp_path / "spec.json").write_bytes((paths.ready / "spec.json").read_bytes())
    made = dataclasses.replace(made, ready=str(tmp_path))
    trained = worker.load_finished(made)
    assert (trained.history, trained.best) == (trainer.history, trainer.best)
    assert trained.weights.keys() == trainer.best_state().keys()
    assert all(torch.equal(trained.weights[name], tensor) for name, tensor in trainer.best_state().items())
    other = dataclasses.replace(made, recipe={**made.recipe, "epochs": 9})
    assert worker.load_finished(other) is None, "it is not at its end yet"


def test_a_worker_that_makes_no_step_ends_with_its_stack():
    hangs = "with HangWatch(0.2) as watch:\n    watch.beat()\n    time.sleep(60)"
    code = f"import time\nfrom evergreen.stages.train.hang_watch import HangWatch\n{hangs}"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "line 5 in <module>" in done.stderr
