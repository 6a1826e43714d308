"""The gate's score: a rare class, a temperature and an old release are judged by log-loss on the same rows."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.data.spec import FeatureSpec
from evergreen.models.tasks.classification import Classification
from evergreen.pages.wording import format_gap
from evergreen.stages.artifacts import WEIGHTS, load_model
from evergreen.stages.train import stage as train
from evergreen.stages.train import worker
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.train.plan import plan_run
from evergreen.stages.trials.out_of_fold import build_fold
from evergreen.stages.validate.config import ValidateConfig
from evergreen.stages.validate.evidence import Evidence
from evergreen.stages.validate.predictions import Predictions
from evergreen.stages.validate.stage import validate
from evergreen.stages.validate.verdict import decide

FAST = ValidateConfig(bootstrap_samples=200)


def rare_evidence(n_rows: int = 20_000) -> Evidence:
    """Scores that find 4.5% positive rows with an area of 0.87 under their curve; nobody is called positive."""
    draw = np.random.default_rng(0)
    y = draw.random(n_rows) < 0.045
    score = draw.normal(size=n_rows) + 1.6 * y
    odds = 1.6 * score - 1.6**2 / 2 + np.log(0.045 / 0.955)  # what is true of two normal distributions
    field = type("Field", (), {"kind": "category", "shape": (), "sizes": (2,), "state": {"values": [[0, 1]]}})()
    task, target = Classification(field, 1).eval(), torch.as_tensor(y).long()
    known = {"target": target}
    candidate = np.column_stack([np.zeros(n_rows), odds])
    return Evidence(
        model=SimpleNamespace(card={}),
        table=None,
        candidate=Predictions.from_output("candidate", task, candidate, target),
        baseline=Predictions.from_output("baseline", task, task.baseline(known, known), target),
        reference=None,
        released=None,
        version="",
        refusal="",
        new_classes=[],
        block=1,
        train={},
    )


def test_a_model_of_a_rare_class_is_released_against_the_baseline():
    evidence = rare_evidence()
    found, base = evidence.candidate.metrics(), evidence.baseline.metrics()
    assert found["auc"] == pytest.approx(0.87, abs=0.01)
    assert abs(found["accuracy"] - base["accuracy"]) < 0.005  # which is why it cannot decide
    gap = evidence.gap(evidence.baseline, FAST)
    verdict = decide(evidence, {"baseline": gap}, FAST)
    assert verdict.word == "release"
    assert "log-loss" in verdict.why
    assert "of the rows right against" in verdict.why
    assert decide(evidence, {"baseline": evidence.gap(evidence.candidate, FAST)}, FAST).word == "keep"


def test_differences_stored_before_are_worded_as_they_were():
    old = {"value": 0.05, "low": 0.01, "high": 0.09, "p": 0.01, "mine": 0.95, "theirs": 0.9, "test": "exact McNemar"}
    assert format_gap({**old, "share_of": "rows"}).startswith("95.0% of the rows right against 90.0%, ahead by 5.0")
    assert format_gap({**old, "share_of": "error"}) == "5.0% less error a row (1.0% to 9.0%, p = 0.01)"


@pytest.fixture
def paths(candidates, tmp_path):
    paths = Paths(tmp_path, "digits")
    paths.ready.parent.mkdir(parents=True)
    paths.ready.symlink_to(Paths(candidates, "digits").ready)
    write_json(paths.select, {"architecture": "linear"})
    return paths


def finish(paths: Paths, **settings) -> TrainConfig:
    """Train the candidate without Ray; a refit is preceded by the run that does not see the validation rows."""
    config = TrainConfig(**{"epochs": 6, "train_on_validation": False, **settings})
    plan = plan_run(config, paths, "classification")
    before = dataclasses.replace(plan, refit=False).in_folder(Path(plan.folder).parent)
    for one in {plan.folder: plan, before.folder: before}.values():
        worker.build_trainer(one).run()
    train.run(config, paths, task="classification")
    return config


@pytest.mark.parametrize("settings", [{}, {"train_on_validation": True}])
@pytest.mark.slow
def test_the_candidate_is_calibrated_by_rows_it_has_not_learned_from(paths, settings):
    finish(paths, learning_rate=0.02, epochs=12, restore="last", **settings)
    card, model = read_json(paths.candidate / "model.json"), load_model(paths.candidate)
    found = card["calibration"]
    assert found["rows"] == FeatureSpec.load(paths.ready).rows["validation"]
    assert found["temperature"] != 1
    assert found["log_loss_after"] < found["log_loss_before"]
    assert float(model.network.task.temperature) == pytest.approx(found["temperature"])
    if not settings:
        loss = card["scores"]["log_loss"]
        assert loss == pytest.approx(found["log_loss_before"])


def test_a_release_without_a_temperature_loads_and_is_compared_by_log_loss(paths, candidates, tmp_path):
    finish(paths)
    old = Paths(candidates, "digits").candidate
    stored = tmp_path / "old"
    stored.mkdir()
    (stored / "model.json").write_bytes((old / "model.json").read_bytes())
    weights = load_file(old / WEIGHTS)
    save_file({n: t for n, t in weights.items() if n not in ("task.shift", "task.temperature")}, stored / WEIGHTS)
    assert "task.temperature" in weights
    summary = validate(FAST, paths, released=("v1.0.0", stored))
    metrics = read_json(paths.metrics)
    assert summary["metric"] == metrics["difference"]["released"]["metric"] == "log_loss"
    assert metrics["difference"]["released"]["theirs"] == pytest.approx(metrics["released"]["log_loss"])


def test_balanced_draws_keep_the_real_probabilities(paths):
    finish(paths, class_balanced=True)
    task = load_model(paths.candidate).network.task
    counts = torch.tensor(FeatureSpec.load(paths.ready).target.state["counts"][0]).float()
    torch.testing.assert_close(task.shift.softmax(0), counts / counts.sum())


def test_folds_draw_classes_as_the_whole_run_does(candidates, tmp_path):
    paths = Paths(tmp_path, "breast_cancer")
    paths.ready.parent.mkdir(parents=True)
    paths.ready.symlink_to(Paths(candidates, "breast_cancer").ready)
    write_json(paths.select, {"architecture": "linear"})
    shares = []
    for is_balanced in (False, True):
        feed = build_fold(plan_run(TrainConfig(class_balanced=is_balanced), paths, "classification"), 0).train
        shares.append(feed.arrays["target"][feed.drawn(0)].mean())
    assert shares[0] < 0.4
    assert abs(shares[1] - 0.5) < 0.03
