"""What differs between two versions, from git's tags and what lies in the folder of released models."""

import json

import pytest

from evergreen.cli import main
from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.flows.version_diff import compare_versions
from evergreen.stages.engines import git_commits, git_tags, versions
from evergreen.stages.engines.dvc_cache import folder_md5

FIRST = {"epochs": 20, "kinds": {"age": "number"}, "raw": "aa", "trainer": 1, "accuracy": 0.9}
SECOND = {"epochs": 40, "kinds": {"age": "number", "city": "category"}, "raw": "bb", "trainer": 2, "accuracy": 0.95}


def add_version(paths: Paths, version: str, facts: dict) -> None:
    spec = {
        "inputs": {kind: {"kind": kind, "columns": [column]} for column, kind in facts["kinds"].items()},
        "target": {"kind": "category"},
        "target_name": "churned",
        "rows": {"train": 100},
    }
    folder = paths.released / version
    folder.mkdir(parents=True)
    card = {"architecture": "mlp", "recipe": {"epochs": facts["epochs"]}, "spec": spec}
    card["code_version"] = f"stage train {facts['trainer']}\nkind number 3\n"
    (folder / "model.json").write_text(json.dumps(card))
    lock = f"""schema: '2.0'
stages:
  collect@churn:
    cmd: x
    outs:
    - path: data/store/churn/raw
      md5: {facts["raw"]}.dir
      size: 10
  train@churn:
    cmd: x
    params:
      pipelines/churn.yaml:
        train:
          epochs: {facts["epochs"]}
          seed: 0
    outs:
    - path: models/store/churn/candidate
      md5: {folder_md5(folder)}
"""
    commit = git_commits.commit_texts(paths.root, {"dvc.lock": lock}, version)
    scores = json.dumps({"accuracy": facts["accuracy"]})
    git_tags.create_tag(paths.root, f"churn@{version}", commit, f"churn {version}\n\nScores: {scores}\n")


@pytest.fixture
def two(paths: Paths) -> Paths:
    add_version(paths, "v2.0.0", FIRST)
    add_version(paths, "v2.1.0", SECOND)
    return paths


def test_settings_data_schema_code_and_scores_are_compared(two):
    found = compare_versions(two, "v2.0.0", "v2.1.0")
    assert found == {
        "changes": {
            "settings": {"train.epochs": [20, 40]},
            "data": {"raw.md5": ["aa.dir", "bb.dir"]},
            "scores": {"accuracy": [0.9, 0.95]},
            "schema": {"city": [None, "category"]},
            "network": {"recipe.epochs": [20, 40]},
            "code": {"stage train": ["1", "2"]},
        },
        "notes": [],
    }
    assert compare_versions(two, "v2.1.0", "v2.1.0") == {"changes": {}, "notes": []}


def test_a_model_that_is_not_here_is_said_and_the_rest_compared(two, monkeypatch):
    def refuse(*_: object) -> None:
        raise VersionError("the bytes are nowhere")

    monkeypatch.setattr(versions, "checkout", refuse)
    found = compare_versions(two, "v2.0.0", "v2.1.0")
    assert set(found["changes"]) == {"settings", "data", "scores"}
    assert found["notes"][0] == "schema, code and network of v2.0.0 are not here: the bytes are nowhere"


def test_the_command_shows_a_line_a_change(two, capsys):
    assert main.main(["diff", "churn", "v2.0.0", "v2.1.0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["churn v2.0.0 → v2.1.0", "settings", "  train.epochs: 20 → 40"]
    assert "  city: – → category" in lines
    assert main.main(["diff", "churn", "v2.1.0", "v2.1.0"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "nothing differs"
    assert main.main(["diff", "churn", "v2.0.0", "v9.0.0"]) == 2
    assert "churn has no version v9.0.0; its versions: v1.0.0, v2.0.0, v2.1.0" in capsys.readouterr().err
    assert main.main(["diff", "../churn", "v2.0.0", "v9.0.0"]) == 2
    assert "there is no pipeline" in capsys.readouterr().err
