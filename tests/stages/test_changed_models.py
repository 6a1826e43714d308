"""A model's card as another version, a hand or a disk may have written it: it answers alike, or is refused in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evergreen.core.errors import UserError
from evergreen.stages.artifacts import load_model
from evergreen.stages.deploy import stage as deploy
from evergreen.stages.deploy.config import DeployConfig

Card = dict[str, Any]


def put(*keys: str, value: Any) -> Callable[[Card], Any]:
    """Return a change that puts a value at a place of the card."""

    def change(card: Card) -> None:
        for key in keys[:-1]:
            card = card[key]
        card[keys[-1]] = value

    return change


def drop(*keys: str) -> Callable[[Card], Any]:
    def change(card: Card) -> None:
        for key in keys[:-1]:
            card = card[key]
        del card[keys[-1]]

    return change


def rename(old: str, new: str) -> Callable[[Card], Any]:
    def change(card: Card) -> Card:
        return json.loads(json.dumps(card).replace(f'"{old}"', f'"{new}"'))

    return change


NUMBER, COLOUR = ("spec", "inputs", "number"), ("spec", "inputs", "category")
LOADS = {
    "no format: the first one": drop("format"),
    "no options: an older shape": drop("options"),
    "no options of the task: an older shape": drop("spec", "task_options"),
    "no scores": drop("scores"),
    "an unknown key": put("licence", value={"spdx": "MIT"}),
    "an unknown key of the spec": put("spec", "checksum", value="1f"),
    "an unknown key of a field": put(*NUMBER, "units", value=["years"]),
    "an unknown state of a field": put(*NUMBER, "state", "p99", value=[3.0]),
    "an unknown state of the target": put("spec", "target", "state", "weights", value=[1, 1]),
    "an encoder said twice": put(*NUMBER, "encoder", value="number"),
    "keys in another order": lambda card: dict(reversed(card.items())),
    "other rows": put("spec", "rows", value={"train": 1, "holdout": 3}),
}
REFUSED = {  # change → words of the message
    "a newer format": (put("format", value=2), "written by a newer Evergreen (format 2"),
    "a format far ahead": (put("format", value=10**30), "written by a newer Evergreen"),
    "a format in words": (put("format", value="2.1"), "written by a newer Evergreen (format '2.1'"),
    "an unknown architecture": (put("architecture", value="mamba"), "there is no 'mamba' in models/architectures"),
    "a renamed architecture": (put("architecture", value="linaer"), "did you mean 'linear'?"),
    "an unknown task": (put("task", value="hashing"), "there is no 'hashing' in models/tasks"),
    "a task of another form": (put("task", value="forecasting"), "cannot build"),
    "a renamed kind": (rename("number", "numeric"), "no kind of data called 'numeric'"),
    "an unknown kind of the target": (put("spec", "target", "kind", value="phoneme"), ""),
    "an unknown option": (put("options", value={"widht": 2}), "'widht' is not an option"),
    "an unknown option of the task": (put("spec", "task_options", value={"cost": 2}), "'cost' is not an option"),
    "no architecture": (drop("architecture"), "it lacks 'architecture'"),
    "no spec": (drop("spec"), "it lacks 'spec'"),
    "no inputs": (drop("spec", "inputs"), "is not a model card"),
    "no state": (drop(*NUMBER, "state"), "is not a model card"),
    "no mean": (drop(*NUMBER, "state", "mean"), ""),
    "no classes": (drop("spec", "target", "state", "values"), ""),
    "inputs as a list": (put("spec", "inputs", value=[]), "is not a model card"),
    "no inputs at all": (put("spec", "inputs", value={}), ""),
    "a spec as text": (put("spec", value="see spec.json"), "is not a model card"),
    "an architecture as a list": (put("architecture", value=["linear"]), ""),
    "a task as a number": (put("task", value=3), ""),
    "options as a list": (put("options", value=[1]), ""),
    "options as nothing": (put("options", value=None), ""),
    "a shape as text": (put(*NUMBER, "shape", value="1"), "is not a model card"),
    "a negative shape": (put(*NUMBER, "shape", value=[-1]), "is not a model card"),
    "an enormous shape": (put(*NUMBER, "shape", value=[10**15]), ""),
    "columns as a number": (put(*NUMBER, "columns", value=3), "is not a model card"),
    "another column": (put(*NUMBER, "columns", value=["age", "height"]), ""),
    "a mean as text": (put(*NUMBER, "state", "mean", value=["3,5"]), ""),
    "a mean that is none": (put(*NUMBER, "state", "mean", value=[None]), ""),
    "more values than weights": (put(*COLOUR, "state", "values", value=[["red", "blue", "green", "grey"]]), ""),
    "more classes than weights": (put("spec", "target", "state", "values", value=[["small", "large", "huge"]]), ""),
    "a target name as a list": (put("spec", "target_name", value=["size"]), "is not a model card"),
    "a dtype that is none": (put(*NUMBER, "dtype", value=32), "is not a model card"),
}


@pytest.fixture
def folder(tmp_path, random_model):
    random_model("sizes", tmp_path / "model", seed=1)
    return tmp_path / "model"


def change(folder: Path, how: Callable[[Card], Any]) -> None:
    file = folder / "model.json"
    card = json.loads(file.read_text())
    file.write_text(json.dumps(how(card) or card))


def serve(folder: Path) -> Any:
    """Load the version as the endpoint does, and answer its own example."""
    entry = {"version": "v1.0.0", "path": str(folder), "limits": dict(DeployConfig())}
    loadable, failures = deploy.try_out({"sizes": entry}, {})
    if failures:
        raise UserError(failures["sizes"])
    return loadable


ROWS = [{"age": 0.5, "colour": "red"}, {"age": 0.1, "colour": "blue"}]


@pytest.mark.parametrize("case", LOADS)
def test_what_another_version_may_have_written_answers_alike(folder, case):
    model = load_model(folder)
    right = model.predict(model.spec.parse_request(ROWS, "rows"))
    change(folder, LOADS[case])
    model = load_model(folder)
    assert model.predict(model.spec.parse_request(ROWS, "rows")) == right
    assert serve(folder)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_loaded_is_refused_in_words(folder, case):
    how, words = REFUSED[case]
    change(folder, how)
    with pytest.raises(UserError) as caught:
        serve(folder)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500


def test_one_release_that_cannot_be_loaded_is_named_and_the_others_go_on(folder, tmp_path, random_model):
    random_model("digits", tmp_path / "digits", seed=1)
    entries = {
        name: {"version": "v2.0.0", "path": str(tmp_path / place), "limits": dict(DeployConfig())}
        for name, place in (("digits", "digits"), ("gone", "nowhere"), ("sizes", "model"), ("tastes", "model"))
    }
    change(folder, put("format", value=2))
    served = {"sizes": {**entries["sizes"], "version": "v1.0.0"}}
    loadable, failures = deploy.try_out(entries, served)
    assert {name: entry["version"] for name, entry in loadable.items()} == {"digits": "v2.0.0", "sizes": "v1.0.0"}
    assert set(failures) == {"gone", "sizes", "tastes"}
    assert failures["sizes"].startswith("sizes v2.0.0: ")
    assert "written by a newer Evergreen" in failures["tastes"]
    assert "the files of the released model are missing" in failures["gone"]
