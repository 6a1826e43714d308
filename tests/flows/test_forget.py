"""A row is forgotten with real git and DVC: marked, removed where no version needs it; versions with it are named."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.cli import main
from evergreen.core.paths import Paths
from evergreen.data import prepared
from evergreen.flows.forgetting import forget_row
from evergreen.stages.collect.forgotten import read_forgotten
from evergreen.stages.engines import git_commits, git_tags, project, versions
from evergreen.stages.pipeline import perform, read
from tests.flows.killed import run_killed
from tests.stages.engines.small_clone import PERSON, dvc, sh

PIPELINE = "task: classification\ncollect: {uri: people.csv}\npreprocess: {target: kind}\n"
ROW = "people.csv#17"


def holders(folder: Path) -> set[str]:
    """The objects in a cache or remote that hold the row."""
    found = set()
    for path in folder.rglob("files/md5/??/*"):
        if path.is_file() and path.read_bytes()[:4] == b"PAR1":
            names = pq.read_schema(path).names
            column = next((name for name in ("_origin", "origin") if name in names), None)
            if column and ROW in pq.read_table(path)[column].cast("string").to_pylist():
                found.add(path.parent.name + path.name)
    return found


def prepare(paths: Paths) -> None:
    for stage in ("collect", "preprocess"):
        perform(stage, read(paths.name, paths.root), paths)
        versions.commit(paths, stage)


@pytest.fixture
def churn(tmp_path, monkeypatch) -> Paths:
    root = tmp_path / "shop"
    root.mkdir()
    sh(root, "git", "init", "-q", "-b", "main")
    project.create(root)
    paths = Paths(root, "churn")
    paths.pipeline.write_text(PIPELINE)
    (root / "people.csv").write_text("age,kind\n" + "".join(f"{age}.5,{'ab'[age % 3 == 0]}\n" for age in range(200)))
    dvc(root, "remote", "add", "-q", "-d", "store", str(tmp_path / "remote"))
    prepare(paths)
    sh(root, "git", "add", "-A")
    sh(root, "git", *PERSON, "commit", "-qm", "rows")
    dvc(root, "push", "-q", "collect@churn", "preprocess@churn")
    monkeypatch.chdir(root)
    return paths


@pytest.mark.slow
def test_a_row_goes_from_cache_and_remote_unless_a_version_needs_it(churn, tmp_path, capsys):
    cache, remote = churn.root / ".dvc" / "cache", tmp_path / "remote"
    held = holders(cache)
    assert held
    assert held == holders(remote)
    assert main.main(["forget", "churn", "--row", ROW]) == 2
    assert "1 row of churn would be forgotten for ever; to do so, add --yes" in capsys.readouterr().err
    assert main.main(["forget", "churn", "--row", "people.csv#999", "--yes"]) == 2
    assert "no collected row of churn is 'people.csv#999'" in capsys.readouterr().err
    copy = churn.home / "examples" / "churn" / "x.json"
    findings, rows = churn.monitor / "monitor.json", churn.monitor / "v1.0.0" / "rows.parquet"
    for path in (copy, findings, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert main.main(["forget", "churn", "--row", ROW, "--later", "--yes"]) == 0
    said = capsys.readouterr().out
    assert "1 row is left out from now on; commit pipelines/churn.forgotten.json" in said
    assert "0 objects removed" in said
    assert [copy.exists(), findings.exists(), rows.exists()] == [False, True, False]
    assert holders(cache) == held  # what the candidate is made of is in use
    prepare(churn)
    table = {"request_id": ["r"], "row": [0], "id": pa.nulls(1, "string"), "asked": [{"age": 15.5}]}
    logged = churn.requests / "2026-01-01" / "a.parquet"
    logged.parent.mkdir(parents=True)
    pq.write_table(pa.table(table), logged)  # from a journal that was being written
    sh(churn.root, "git", "add", "-A")
    sh(churn.root, "git", *PERSON, "commit", "-qm", "without it")
    assert main.main(["forget", "churn", "--row", ROW, "--later", "--yes"]) == 0
    assert f"{len(held)} objects removed that no version needs" in capsys.readouterr().out
    assert holders(cache) == holders(remote) == set()
    assert not logged.exists()


@pytest.mark.slow
def test_what_a_version_needs_stays_and_is_named(churn, tmp_path, capsys):
    held, head = holders(churn.root / ".dvc" / "cache"), git_commits.head(churn.root)
    out = "\n  train@churn:\n    cmd: x\n    outs:\n    - {path: models/store/churn/candidate, md5: aa.dir}\n"
    text = (churn.root / "dvc.lock").read_text().rstrip("\n") + out
    commit = git_commits.commit_texts(churn.root, {"dvc.lock": text}, "release")
    git_tags.create_tag(churn.root, "churn@v1.0.0", commit, "first")
    assert commit != head
    assert main.main(["forget", "churn", "--row", ROW, "--later", "--yes"]) == 0
    prepare(churn)
    sh(churn.root, "git", *PERSON, "commit", "-qam", "without it")
    capsys.readouterr()
    assert main.main(["forget", "churn", "--row", ROW, "--later", "--yes"]) == 0
    assert "still held   v1.0.0 (" in capsys.readouterr().out
    assert holders(churn.root / ".dvc" / "cache") == held == holders(tmp_path / "remote")


@pytest.mark.slow
def test_killed_at_any_moment_it_is_called_again_and_nothing_else_goes(churn, tmp_path):
    cache, remote = churn.root / ".dvc" / "cache", tmp_path / "remote"
    pipeline, places = read("churn", churn.root), [("r", row) for row in range(3)]
    logged, labels = churn.requests / "2026-01-01" / "a.parquet", churn.requests / "labels" / "1.parquet"
    for path in (logged, labels):
        path.parent.mkdir(parents=True)
    asked = [{"age": age} for age in (15.5, 16.5, 17.5)]
    about = {"request_id": ["r"] * 3, "row": [0, 1, 2]}
    pq.write_table(pa.table(about | {"id": pa.nulls(3, "string"), "asked": asked}), logged)
    pq.write_table(pa.table(about | {"label": ["a", "b", "a"]}), labels)

    def count_kills() -> int:
        """Forget the row, killed before ever more changes, until it is done."""
        for n_kills in range(1000):
            if not run_killed(lambda: forget_row(pipeline, churn, ROW, trains=False), 2 ** (n_kills // 2) - 1):
                return n_kills
            assert all({*places[1:]} <= {*list_places(path)} for path in (logged, labels))
            assert places[0] not in list_places(labels) or not churn.forgotten.exists()
        raise AssertionError("it is never done")

    assert count_kills() > 2
    (marked,) = read_forgotten(churn)
    assert marked["origin"] == ROW
    assert list_places(logged) == list_places(labels) == places[1:]
    held = holders(cache)
    prepare(churn)
    sh(churn.root, "git", *PERSON, "commit", "-qam", "without it")
    assert count_kills() > 2
    assert held
    assert holders(cache) == holders(remote) == set()
    shutil.rmtree(churn.ready)
    dvc(churn.root, "checkout", "-q", "preprocess@churn")
    assert 100 < len(prepared.read(churn.ready, "train")) < 200


def list_places(path: Path) -> list[tuple[str, int]]:
    table = pq.read_table(path)
    return [*zip(table["request_id"].to_pylist(), table["row"].to_pylist(), strict=True)]
