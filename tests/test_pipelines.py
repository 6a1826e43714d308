"""The shipped pipelines show one whole life of everything that can be asked for."""

from pathlib import Path

import pytest

from evergreen.models.registry import list_tasks
from evergreen.models.training.config import CHOICES
from evergreen.stages import pipeline
from evergreen.stages.train.config import RECIPE

ROOT = Path(__file__).parents[1]
SHIPPED = {name: pipeline.read(name, ROOT) for name in pipeline.names(ROOT)}
OWN_DEFAULTS = {"optimizer": "adamw", "schedule": "cosine", "keep": "best"}  # what a pipeline gets that says nothing


def train_settings(name: str) -> set[object]:
    """All values that the shipped pipelines and the architectures' own recipes give a setting of training."""
    from evergreen.models.registry import find_architecture, list_architectures

    said = {getattr(one.train, name) for one in SHIPPED.values()}
    name = RECIPE.get(name, name)
    return said | {find_architecture(one).DEFAULTS.get(name) for one in list_architectures()} | {OWN_DEFAULTS.get(name)}


def test_there_are_enough():
    assert len(SHIPPED) >= 15


@pytest.mark.parametrize("task", list_tasks())
def test_every_task_has_a_pipeline(task):
    assert task in {one.task for one in SHIPPED.values()}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_pipeline_says_its_question_first(name):
    first = (ROOT / "pipelines" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")


@pytest.mark.parametrize(
    ("setting", "value"),
    [(name, value) for name in ("optimizer", "schedule") for value in CHOICES[name]]
    + [("augment", True), ("train_on_validation", True), ("freeze", "backbone")],
)
def test_every_named_practice_is_shipped(setting, value):
    assert value in train_settings(setting)


@pytest.mark.parametrize(
    "setting",
    ["ema", "swa", "mixup", "grad_clip_norm", "early_stopping_patience", "layer_decay", "init_from", "weight_decay"],
)
def test_every_practice_with_a_number_is_shipped(setting):
    off = {None, 0, ""} | ({1.0} if setting == "layer_decay" else set())
    assert train_settings(setting) - off


def test_class_weights_and_folds_are_shipped():
    assert any(one.task_options.get("class_weights") == "balanced" for one in SHIPPED.values())
    assert any(one.select.folds for one in SHIPPED.values())
