"""A project may be a subfolder of its repository, and its graph may lie beside a dvc.yaml of the person's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from gto.tag import parse_name

from evergreen.core.paths import find_root
from evergreen.stages import pipeline
from evergreen.stages.engines import git_tags


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    git_tags.commit_texts(tmp_path, {"a": "1"}, "first")
    return tmp_path


@pytest.mark.parametrize("folder", ["", "sub", "a/b", "Mein Projekt Ü", "-x-"])
def test_tags_carry_the_folder_as_gto_allows_it(repository: Path, folder: str) -> None:
    root = repository / folder
    root.mkdir(parents=True, exist_ok=True)
    commit = git_tags.head(root)
    git_tags.create_tag(root, "digits@v1.0.0", commit, "one")
    git_tags.create_tag(root, "digits#production#1", commit, "one")
    tags = git_tags.git(root, "tag").split()
    assert all(parse_name(tag) for tag in tags)
    assert all(tag.startswith(f"{folder}/" if folder in ("sub", "a/b") else "") for tag in tags)
    for found in (git_tags.read_tags(root), git_tags.read_tags(root, "digits")):
        assert found["digits"].production == "v1.0.0"
    if folder:
        assert git_tags.read_tags(repository) == {}
        (repository / "other").mkdir()
        assert git_tags.read_tags(repository / "other") == {}


def test_folders_that_are_spelled_alike_stay_apart(repository: Path) -> None:
    folders = [repository / name for name in ("a b", "a-b", "a  b")]
    for folder in folders:
        folder.mkdir()
    assert len(set(map(git_tags.tag_prefix, folders))) == 3


def test_a_graph_in_pipelines_makes_a_project_and_is_no_pipeline(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    for name in ("dvc", "params", "churn"):
        (tmp_path / "pipelines" / f"{name}.yaml").touch()
    assert find_root(tmp_path / "pipelines") == tmp_path.resolve()
    assert pipeline.names(tmp_path) == ["churn"]
