"""A project may be a subfolder of its repository, and its graph may lie beside a dvc.yaml of the person's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from gto.tag import parse_name

from evergreen.cli.commands.init import init
from evergreen.core.errors import UserError
from evergreen.core.paths import Paths, find_root
from evergreen.stages import pipeline
from evergreen.stages.engines import git_commits, git_tags, project
from evergreen.stages.engines.dvc_graph import graph_file, register_pipeline
from evergreen.stages.engines.dvc_stages import open_repo, stale_reasons
from evergreen.stages.engines.dvc_state import prepare


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    git_commits.commit_texts(tmp_path, {"a": "1"}, "first")
    return tmp_path


@pytest.mark.parametrize("folder", ["", "sub", "a/b", "Mein Projekt Ü", "-x-"])
def test_tags_carry_the_folder_as_gto_allows_it(repository: Path, folder: str) -> None:
    root = repository / folder
    root.mkdir(parents=True, exist_ok=True)
    commit = git_commits.head(root)
    git_tags.create_tag(root, "digits@v1.0.0", commit, "one")
    git_tags.create_tag(root, "digits#production#1", commit, "one")
    tags = git_commits.git(root, "tag").split()
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


def status(folder: Path) -> list[str]:
    return sorted(
        git_commits.git(folder, "-c", "core.quotePath=false", "status", "--porcelain", "-uall", ".").splitlines()
    )


NEW = [".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml"]


@pytest.mark.parametrize("folder", [".", "sub", "Mein Projekt Ü"])
def test_a_folder_becomes_a_project_and_stays_as_it_is(repository: Path, folder: str) -> None:
    root = repository / folder
    root.mkdir(exist_ok=True)
    files = project.create(root)
    assert all(one.written and one.purpose for one in files)
    assert sorted(place for place in NEW if (root / place).is_file()) == NEW
    assert find_root(root) == root.resolve()
    before = status(repository)
    assert not any(one.written for one in project.create(root))
    assert status(repository) == before
    prepare(root)  # what runs there is nothing that git sees
    assert status(repository) == before


def test_what_a_person_has_is_kept_and_lines_are_appended(repository: Path) -> None:
    mine = {".gitignore": "*.log\r\n/.evergreen\r\nnotes", ".dvcignore": "big", "dvc.yaml": "stages: {}\n"}
    mine |= {"params.yaml": "rate: 1\n", "data/__init__.py": "", "models/net.py": "1 / 0\n", ".dvc/config": "[core]\n"}
    for place, text in mine.items():
        (repository / place).parent.mkdir(exist_ok=True)
        (repository / place).write_bytes(text.encode())
    project.create(repository)
    kept = {place: (repository / place).read_bytes().decode() for place in mine}
    appended = {".gitignore": "\r\n/data/store/\r\n/models/store/\r\n", ".dvcignore": "\n/.evergreen\n.venv\n"}
    assert kept == {place: text + appended.get(place, "") for place, text in mine.items()}
    assert graph_file(repository, "dvc.yaml") == "pipelines/dvc.yaml"
    assert pipeline.names(repository) == []
    assert not any(one.written for one in project.create(repository))


@pytest.mark.parametrize("own", [{}, {"dvc.yaml": "stages: {mine: {cmd: echo}}\n"}, {"params.yaml": "rate: 1\n"}])
def test_dvc_reads_the_graph_in_either_place(repository: Path, own: dict[str, str]) -> None:
    from dvc.repo import Repo

    root = repository / "sub"
    root.mkdir()
    for place, text in own.items():
        (root / place).write_text(text)
    project.create(root)
    paths = Paths(root, "churn")
    paths.pipeline.write_text("task: classification\n")
    register_pipeline(paths)
    with open_repo(root) as repo:
        assert isinstance(repo, Repo)
        stages = {stage.name: stage for stage in repo.index.stages if stage.name.endswith("@churn")}
        assert Path(stages["train@churn"].wdir) == root.resolve()
        outs = [Path(out.fs_path) for out in stages["train@churn"].outs]
    assert outs == [paths.candidate.resolve()]
    assert {name.partition("@")[0] for name in stages} == {"versions", *pipeline.STAGES}


OLDER = "".join(
    f"""  {stage}:
    foreach: ${{pipelines}}
    do:
      cmd: PATH=.venv/bin:$PATH python -m stages.{stage} ${{item}}
      params:
        - pipelines/${{item}}.yaml: [{stage}]
      deps:
        - stages/{stage}.py
      outs:
        - models/store/${{item}}/{stage}
"""
    for stage in ("collect", "preprocess", "select", "tune", "train", "validate")
)


def test_the_way_out_of_an_older_graph_leads_out(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(repository, "churn")
    project.create(repository)
    paths.pipeline.write_text("task: classification\ncollect: {uri: a.csv}\npreprocess: {target: b}\n")
    register_pipeline(paths)
    (repository / "dvc.yaml").write_text("stages:\n" + OLDER)
    listed, read = (repository / "params.yaml").read_text(), pipeline.read("churn", repository)
    monkeypatch.chdir(repository)
    assert not any(one["written"] for one in init().value["files"])  # the older graph is no file of the person's
    with pytest.raises(UserError, match=r"remove that dvc\.yaml, and then write it anew with `evergreen init`"):
        stale_reasons(repository, [read])
    (repository / "dvc.yaml").unlink()
    assert [one["path"] for one in init().value["files"] if one["written"]] == ["dvc.yaml"]
    assert stale_reasons(repository, [read]) == {"churn": dict.fromkeys(pipeline.STAGES, "never run")}
    assert (repository / "params.yaml").read_text() == listed


def test_where_no_project_can_be(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    project.create(repository)
    (repository / "pipelines" / "deeper").mkdir()
    with pytest.raises(UserError, match=r"it lies in the project .*; change into that folder"):
        project.create(repository / "pipelines" / "deeper")
    with pytest.raises(UserError, match=r"not a git repository.*; run `git init` in it"):
        project.create(tmp_path_factory.mktemp("elsewhere"))
