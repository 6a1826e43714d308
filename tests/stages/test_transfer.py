"""Weights of a released version as a beginning: what is taken, what stays, what is refused."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess

import pytest
import torch

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.stages.artifacts import load_model, save_model
from evergreen.stages.train import stage as train
from evergreen.stages.train import worker
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.train.plan import plan_run
from evergreen.stages.train.transfer import InitWeights, load_matching_weights
from evergreen.stages.validate.config import ValidateConfig


@pytest.fixture(scope="module")
def start(candidates, train, tmp_path_factory):
    """A trained MLP on diabetes, as a released version lies on the disk."""
    return train(Paths(candidates, "diabetes"), tmp_path_factory.mktemp("start"), epochs=3, architecture="mlp")


@pytest.fixture
def paths(candidates, tmp_path):
    paths = Paths(tmp_path, "diabetes")
    paths.ready.parent.mkdir(parents=True)
    shutil.copytree(Paths(candidates, "diabetes").ready, paths.ready)
    write_json(paths.select, {"architecture": "mlp"})
    return paths


def begun(paths, start, **params):
    plan = plan_run(TrainConfig(epochs=2, train_on_validation=False, **params), paths, "regression")
    return dataclasses.replace(plan, start="diabetes@v1.0.0", start_bytes="b", start_folder=str(start))


def elsewhere(paths):
    """The same rows with another target."""
    spec = read_json(paths.ready / "spec.json")
    write_json(paths.ready / "spec.json", {**spec, "target_name": "something"}, sort=False)


def test_all_weights_are_taken_where_the_target_is_the_same(paths, start):
    network = worker.build_trainer(begun(paths, start)).network
    for name, tensor in load_model(start).network.state_dict().items():
        if name == "task.margin":  # which the new rows choose
            continue
        assert torch.equal(network.state_dict()[name], tensor), name


def test_the_head_is_new_where_the_target_differs(paths, start):
    elsewhere(paths)
    network = worker.build_trainer(begun(paths, start)).network
    for name, tensor in load_model(start).network.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor) == name.startswith("architecture."), name


def test_frozen_features_stay_and_the_head_learns(paths, start):
    loop = worker.build_trainer(dataclasses.replace(begun(paths, start), freeze="features"))
    loop.run()
    assert loop.step > 0
    for name, tensor in load_model(start).network.state_dict().items():
        assert torch.equal(loop.network.state_dict()[name], tensor) == name.startswith("architecture."), name


def test_the_beginning_is_part_of_a_runs_name_and_its_place_is_not(paths, start):
    plan = begun(paths, start)
    assert plan.key() == dataclasses.replace(plan, start_folder="elsewhere").key()
    for change in ({"start_bytes": "c"}, {"freeze": "features"}, {"start": ""}):
        assert plan.key() != dataclasses.replace(plan, **change).key()


def test_a_version_with_nothing_that_fits_is_refused(paths, start):
    plan = dataclasses.replace(
        begun(paths, start), architecture="linear", options={}, recipe=begun(paths, start).recipe
    )
    with pytest.raises(PipelineError, match="none of its weights fit"):
        worker.build_trainer(plan)


def test_a_pipeline_without_a_release_is_named_with_the_command_that_makes_one(paths):
    (paths.root / "pipelines").mkdir()
    (paths.root / "pipelines" / "other.yaml").touch()
    subprocess.run(["git", "init", "-q", paths.root], check=True)
    for text, what in (("othr@v1.0.0", "did you mean 'other'"), ("other", "evergreen run other")):
        with pytest.raises(PipelineError, match=what) as error:
            InitWeights.find(text, paths)
        assert error.value.place == "train.init_from"


def test_taking_says_how_much_it_took(paths, start):
    network = worker.build_trainer(
        plan_run(TrainConfig(epochs=1, train_on_validation=False), paths, "regression")
    ).network
    count, whole = load_matching_weights(network, start, load_model(start).spec)
    assert count + len(list(network.task.named_buffers())) - 1 == whole == len(network.state_dict())  # but its margin


def test_contradictions_are_refused():
    with pytest.raises(PipelineError, match="init_from"):
        build(TrainConfig, {"freeze": "backbone"}, "train")
    with pytest.raises(PipelineError, match="options"):
        build(TrainConfig, {"init_from": "digits@v1.0.0", "options": {"dropout": 0.1}}, "train")


def test_the_report_says_whether_the_transfer_helped(paths, start):
    from evergreen.stages.report import stage as report
    from evergreen.stages.validate import stage as validate

    made, alone = {}, TrainConfig(epochs=3, train_on_validation=False)
    for name, plan in (("alone", plan_run(alone, paths, "regression")), ("begun", begun(paths, start))):
        made[name] = worker.build_trainer(dataclasses.replace(plan, folder=str(paths.root / name)))
        made[name].run()
    card = {**train._model_card(begun(paths, start), made["begun"]), "start": "diabetes@v1.0.0", "freeze": "nothing"}
    beside = {
        "scratch": (
            made["alone"].network,
            train._model_card(plan_run(alone, paths, "regression"), made["alone"]),
        )
    }
    save_model(paths.candidate, made["begun"].network, card, beside)
    validate.validate(ValidateConfig(bootstrap_samples=100), paths, released=None)
    metrics = read_json(paths.metrics)
    assert metrics["scratch"]["r2"] != metrics["test"]["r2"]["value"]
    report.run(None, paths, task="regression")
    page = (paths.report / "report.html").read_text()
    assert "Started from diabetes@v1.0.0 it is" in page
    assert "from scratch" in page
