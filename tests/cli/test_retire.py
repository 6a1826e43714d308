"""A pipeline goes out of service and out of the lists; its versions and its file stay."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from gto.constants import Action
from gto.tag import parse_name

from evergreen.cli import main
from evergreen.core.paths import Paths
from evergreen.stages.engines import git_commits, git_tags, versions

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pipelines with two versions each, the second one in production; nothing runs."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text("pipelines:\n  - churn  # the first\n  - prices\n")
    for command in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m one"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    for name in ("churn", "prices"):
        yaml = "task: regression\ncollect: {uri: rows.csv}\npreprocess: {target: b}\nschedule: 0 4 * * *\n"
        (tmp_path / "pipelines" / f"{name}.yaml").write_text(yaml)
        for number, tag in enumerate(("v1.0.0", "v1.1.0"), 1):
            out = f"- {{path: models/store/{name}/candidate, md5: a{number}.dir}}"
            lock = f"stages:\n  train@{name}:\n    outs:\n    {out}\n"
            made = git_commits.commit_texts(tmp_path, {"dvc.lock": lock}, "release")
            git_tags.create_tag(tmp_path, f"{name}@{tag}", made, tag)
            git_tags.create_tag(tmp_path, f"{name}#production#{number}", made, tag)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_retired_pipeline_is_out_of_service_and_its_versions_stay(project, capsys):
    assert answer(capsys, "retire", "churn", "--yes") == {"pipeline": "churn", "before": "v1.1.0", "served": {}}
    assert versions.released(project) == {"prices": "v1.1.0"}
    assert [one.version for one in versions.versions(Paths(project, "churn"))] == ["v1.0.0", "v1.1.0"]
    assert (project / "pipelines" / "churn.yaml").exists()
    assert (project / "params.yaml").read_text() == "pipelines:\n  - prices\n"
    tags = subprocess.run(["git", "tag", "--points-at", "HEAD~2"], cwd=project, capture_output=True, text=True).stdout
    assert "churn#production!#3" in tags.split()
    assert parse_name("churn#production!#3")["action"] == Action.UNASSIGN


def test_it_is_out_of_the_lists_until_it_is_brought_back(project, capsys):
    answer(capsys, "retire", "churn", "--yes")
    value = answer(capsys, "status")
    assert ([one["name"] for one in value["pipelines"]], value["retired"]) == (["prices"], ["churn"])
    assert main.main(["run", "churn"]) == 2
    assert "churn is retired; bring it back with: evergreen rollback churn v1.1.0" in capsys.readouterr().err
    assert main.main(["retire", "churn", "--yes"]) == 2
    assert "churn is retired already; released: prices" in capsys.readouterr().err
    assert versions.rollback(Paths(project, "churn"), "v1.1.0") == "v1.1.0"
    assert versions.retired(project) == []


def test_a_pipeline_whose_file_was_deleted_can_be_retired(project, capsys):
    (project / "pipelines" / "churn.yaml").unlink()
    shown = {one["name"]: one for one in answer(capsys, "status")["pipelines"]}
    assert "there is no pipelines/churn.yaml, but v1.1.0 is in service" in shown["churn"]["mistake"]
    assert answer(capsys, "retire", "churn", "--yes")["before"] == "v1.1.0"
    assert [one["name"] for one in answer(capsys, "status")["pipelines"]] == ["prices"]


def test_it_asks_first(project, capsys):
    assert main.main(["retire", "churn"]) == 2
    assert "to take it out of service, add --yes" in capsys.readouterr().err
    assert main.main(["retire", "chrun", "--yes"]) == 2
    assert "did you mean 'churn'?" in capsys.readouterr().err
    assert versions.released(project) == {"churn": "v1.1.0", "prices": "v1.1.0"}
