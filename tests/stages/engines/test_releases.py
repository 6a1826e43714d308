"""Releases and their bytes, with real git and real DVC in small clones: the shipped graph, tiny stages."""

import os
import shutil
import time
from pathlib import Path

import pytest

from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.flows.housekeeping import clean
from evergreen.stages.engines import dvc_cache, git_commits, versions
from evergreen.stages.housekeeping_config import HousekeepingConfig
from tests.stages.engines.small_clone import PERSON, STAGE, dvc, edit, run, sh

pytestmark = pytest.mark.slow


def train_again(paths: Paths, epochs: int) -> None:
    """A new candidate, recorded."""
    edit(paths, paths.pipeline.read_text().partition("  epochs: ")[2][:1], str(epochs))
    for stage in ("train", "validate", "report"):
        run(paths, stage)


def test_a_release_touches_nothing_of_the_persons_work(paths: Paths) -> None:
    root = paths.root
    for hook in ("pre-commit", "commit-msg", "post-commit", "reference-transaction"):
        script = root / ".git" / "hooks" / hook
        script.parent.mkdir(exist_ok=True)
        script.write_text("#!/bin/sh\ntouch hook-ran\nexit 1\n")
        script.chmod(0o755)
    (root / "stage.py").write_text(STAGE + "# staged\n")
    (root / "new.txt").write_text("staged, new")
    sh(root, "git", "add", "stage.py", "new.txt")
    (root / "stage.py").write_text(STAGE + "# staged, then changed\n")
    sh(root, "git", "rm", "-q", "--cached", ".dvcignore")
    (root / "loose.txt").write_text("untracked")
    before = [sh(root, "git", *what) for what in (("diff",), ("diff", "--cached"), ("status", "--porcelain"))]
    notes: list[str] = []
    assert versions.release(paths, "better", notes.append) == "v1.0.0"
    after = [sh(root, "git", *what) for what in (("diff",), ("diff", "--cached"), ("status", "--porcelain"))]
    assert before[:2] == after[:2]
    assert set(before[2].splitlines()) - set(after[2].splitlines()) == {"?? dvc.lock"}
    assert sh(root, "git", "show", "--name-only", "--format=%an %s", "HEAD").split("\n\n") == [
        "Evergreen Release alpha v1.0.0",
        "dvc.lock\n",
    ]
    assert not (root / "hook-ran").exists()
    assert notes == []


def test_a_release_says_what_git_lacks(paths: Paths) -> None:
    train_again(paths, 4)
    notes: list[str] = []
    versions.release(paths, say=notes.append)
    assert notes == ["released, but git lacks pipelines/alpha.yaml; commit them so that the version can be built again"]


@pytest.mark.parametrize("place", ["named", "unborn", "detached", "worktree"])
def test_a_release_works_wherever_head_stands(paths: Paths, place: str, tmp_path: Path) -> None:
    root, author = paths.root, "Evergreen <evergreen@localhost>"
    if place == "named":
        sh(root, "git", "config", "user.name", "Ada")
        sh(root, "git", "config", "user.email", "ada@example.org")
        author = "Ada <ada@example.org>"
    elif place == "unborn":
        sh(root, "git", "checkout", "-q", "--orphan", "fresh")
    elif place == "detached":
        sh(root, "git", "checkout", "-q", "--detach")
    else:
        sh(root, "git", "worktree", "add", "-q", str(tmp_path / "tree"))
        shutil.copy(root / "dvc.lock", tmp_path / "tree" / "dvc.lock")
        paths = Paths(tmp_path / "tree", "alpha")
    assert versions.release(paths) == "v1.0.0"
    assert sh(paths.root, "git", "log", "-1", "--format=%an <%ae>", "alpha@v1.0.0").strip() == author
    tagger = sh(paths.root, "git", "for-each-ref", "--format=%(taggername) %(taggeremail)", "refs/tags/alpha@v1.0.0")
    assert tagger.strip() == author
    assert (
        sh(paths.root, "git", "rev-parse", "HEAD", "alpha@v1.0.0^{}", "alpha#production#1^{}").split()
        == [git_commits.head(paths.root)] * 3
    )
    assert versions.released(paths.root) == {"alpha": "v1.0.0"}
    assert not sh(paths.root, "git", "status", "--porcelain", "dvc.lock").startswith(" M")


def test_a_lock_file_the_person_committed_is_not_committed_again(paths: Paths) -> None:
    sh(paths.root, "git", "add", "dvc.lock")
    sh(paths.root, "git", *PERSON, "commit", "-qm", "mine")
    head = git_commits.head(paths.root)
    versions.release(paths)
    assert git_commits.head(paths.root) == head == versions.versions(paths)[0].commit


def test_releases_and_rollbacks_are_history_that_gto_reads(paths: Paths) -> None:
    assert versions.release(paths, "the first") == "v1.0.0"
    assert versions.release(paths, "the same") == "v1.0.0"
    for epochs, version in ((4, "v1.1.0"), (5, "v1.2.0")):
        train_again(paths, epochs)
        assert versions.release(paths) == version
    assert versions.rollback(paths) == "v1.1.0"
    notes: list[str] = []
    assert versions.release(paths, say=notes.append) == "v1.2.0"
    assert versions.released(paths.root) == {"alpha": "v1.1.0"}
    assert "v1.2.0 was rolled back, so v1.1.0 stays in production" in notes[0]
    assert versions.release(paths, again=True) == "v1.2.0"
    assert versions.released(paths.root) == {"alpha": "v1.2.0"}
    assert versions.rollback(paths, "v1.1.0") == "v1.1.0"
    assert versions.rollback(paths) == "v1.0.0"
    with pytest.raises(VersionError, match=r"has no earlier version; its versions are v1\.0\.0, v1\.1\.0, v1\.2\.0"):
        versions.rollback(paths)
    with pytest.raises(VersionError, match=r"no version v9; its versions are v1\.0\.0, "):
        versions.rollback(paths, "v9")
    assert versions.rollback(paths, "v1.2.0") == "v1.2.0"
    found = versions.versions(paths)
    assert [(one.version, one.production) for one in found] == [("v1.0.0", False), ("v1.1.0", False), ("v1.2.0", True)]
    assert [versions.scores(one) for one in found] == [{"accuracy": 0.3}, {"accuracy": 0.4}, {"accuracy": 0.5}]

    from gto.api import show

    assert show(str(paths.root), "alpha#production")[0]["version"] == "v1.2.0"
    assert [one["version"] for one in show(str(paths.root), "alpha")] == ["v1.2.0", "v1.1.0", "v1.0.0"]


def test_tags_that_gto_made_count(paths: Paths) -> None:
    from gto.api import assign, register, unassign

    versions.release(paths)
    train_again(paths, 4)
    sh(paths.root, "git", "add", "-u")
    sh(paths.root, "git", *PERSON, "commit", "-qm", "mine")
    sh(paths.root, "git", "config", "user.name", "Ada")
    sh(paths.root, "git", "config", "user.email", "ada@example.org")
    time.sleep(1)  # GTO orders by whole seconds
    register(str(paths.root), "alpha", ref="HEAD", version="v2.0.0")
    assign(str(paths.root), "alpha", stage="production", version="v2.0.0")
    assert versions.released(paths.root) == {"alpha": "v2.0.0"}
    assert versions.release(paths) == "v2.0.0"
    train_again(paths, 5)
    assert versions.release(paths) == "v2.1.0"
    unassign(str(paths.root), "alpha", stage="production", version="v2.1.0")
    assert versions.released(paths.root) == {}


def test_nothing_to_release_is_said(paths: Paths) -> None:
    (paths.root / "dvc.lock").unlink()
    with pytest.raises(VersionError, match=r"no recorded candidate.*evergreen run alpha"):
        versions.release(paths)


def remote(paths: Paths, url: Path) -> None:
    dvc(paths.root, "remote", "add", "--local", "-d", "store", str(url))


def test_bytes_come_back_from_the_cache(paths: Paths) -> None:
    versions.release(paths)
    wanted = dvc_cache.folder_md5(paths.candidate)
    train_again(paths, 4)
    shutil.rmtree(paths.candidate)
    folder = versions.checkout(paths, "v1.0.0")
    assert folder == paths.released / "v1.0.0"
    assert dvc_cache.folder_md5(folder) == wanted
    assert (folder / "deep" / "weights.safetensors").read_text() == "train alpha 3"
    (folder / "model.json").write_text("damaged")
    assert (versions.checkout(paths, "v1.0.0") / "model.json").read_text() == "train alpha 3"
    with pytest.raises(VersionError, match=r"no version v3\.0\.0; its versions: v1\.0\.0"):
        versions.checkout(paths, "v3.0.0")


def test_the_rows_that_a_version_was_made_from_come_back(paths: Paths) -> None:
    versions.release(paths)
    train_again(paths, 4)
    answers = versions.checkout_predictions(paths, "v1.0.0")
    assert answers
    assert answers.read_text() == "validate alpha 3"
    shutil.rmtree(paths.ready)
    with versions.checked_out_rows(paths, "v1.0.0") as folder:
        names = sorted(path.name for path in folder.rglob("*") if path.is_file())
        assert names
    assert not folder.exists()
    with pytest.raises(VersionError, match=r"no version v3\.0\.0"), versions.checked_out_rows(paths, "v3.0.0"):
        pass


def test_bytes_come_back_from_the_remote(paths: Paths, tmp_path: Path) -> None:
    remote(paths, tmp_path / "remote")
    versions.release(paths)
    stored = paths.root / ".dvc" / "cache" / "files"
    for path in [path for path in stored.rglob("*") if path.is_file() and path.read_bytes() == b"train alpha 3"]:
        path.chmod(0o644)
        path.write_text("damaged")
    assert (versions.checkout(paths, "v1.0.0") / "model.json").read_text() == "train alpha 3"
    for folder in (paths.released, stored, paths.candidate):
        shutil.rmtree(folder)
    assert (versions.checkout(paths, "v1.0.0") / "deep" / "weights.safetensors").read_text() == "train alpha 3"


def test_bytes_that_are_nowhere_are_said_to_be(paths: Paths, tmp_path: Path) -> None:
    versions.release(paths)
    shutil.rmtree(paths.root / ".dvc" / "cache" / "files")
    with pytest.raises(VersionError, match=r"cannot fetch alpha v1\.0\.0.*no remote is set.*dvc remote add"):
        versions.checkout(paths, "v1.0.0")
    (tmp_path / "empty").mkdir()
    remote(paths, tmp_path / "empty")
    with pytest.raises(VersionError, match=r"the remote does not have it|the remote failed"):
        versions.checkout(paths, "v1.0.0")
    assert not (paths.released / "v1.0.0").exists()


def test_a_remote_that_fails_is_said_and_the_release_stands(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    remote(paths, tmp_path / "file")
    notes: list[str] = []
    assert versions.release(paths, say=notes.append) == "v1.0.0"
    assert "did not reach the remote" in notes[0]
    assert versions.released(paths.root) == {"alpha": "v1.0.0"}


def test_a_version_is_served_from_its_candidate_with_a_graph_where_it_has_one(paths: Paths, tmp_path: Path) -> None:
    root = paths.root
    remote(paths, tmp_path / "remote")

    def choose() -> tuple[str, bool]:
        shutil.copytree(paths.candidate, paths.served)
        (paths.served / "model.onnx").write_text("a graph")
        return "onnx, 3.0 times as fast", True

    versions.release(paths, "better", choose_engine=choose)
    message = versions.versions(paths)[0].message
    assert (versions.served_by(paths, "v1.0.0"), versions.scores(versions.versions(paths)[0])) == (
        "onnx, 3.0 times as fast",
        {"accuracy": 0.3},
    )
    assert "\n\nbetter\n\nEngine: onnx, 3.0 times as fast\n\nScores: " in message
    assert set(sh(root, "git", "show", "--name-only", "--format=", "HEAD").split()) == {
        "dvc.lock",
        "pipelines/alpha.dvc",
    }
    assert dvc(root, "status", "pipelines/alpha.dvc").strip() == "Data and pipelines are up to date."
    assert not sh(root, "git", "status", "--porcelain", "pipelines")
    versions.release(paths, choose_engine=lambda: pytest.fail("it has one"))
    train_again(paths, 4)
    assert versions.release(paths, choose_engine=lambda: ("torch, ONNX is slower", False)) == "v1.1.0"
    assert versions.served_by(paths, "v1.1.0") == "torch, ONNX is slower"
    dvc(root, "gc", "--workspace", "--all-tags", "--cloud", "--force")
    for place in (paths.released, root / ".dvc" / "cache" / "files"):
        shutil.rmtree(place, ignore_errors=True)
    with_graph, without = (versions.checkout(paths, version) for version in ("v1.0.0", "v1.1.0"))
    assert (with_graph / "model.onnx").read_text() == "a graph"
    assert (with_graph / "model.json").read_text() == "train alpha 3"
    assert not (without / "model.onnx").exists()
    (with_graph / "model.onnx").write_text("damaged")
    assert (versions.checkout(paths, "v1.0.0") / "model.onnx").read_text() == "a graph"


def test_what_nothing_records_leaves_the_cache_and_versions_stay(paths: Paths) -> None:
    cache = paths.root / ".dvc" / "cache" / "files" / "md5"
    versions.release(paths)
    released = set(cache.rglob("*"))
    train_again(paths, 4)
    between = set(cache.rglob("*")) - released
    train_again(paths, 5)
    waiting = set(cache.rglob("*")) - released - between
    assert between
    assert waiting
    month = (time.time() - 40 * 86_400,) * 2
    for path in cache.rglob("*"):
        os.utime(path, month)
    young = next(path for path in between if path.suffix == ".dir")
    os.utime(young)
    assert clean(paths.root, HousekeepingConfig()) == {}
    (paths.root / "dvc.yaml").rename(paths.root / "away")  # a commit may lack the graph by which DVC knows what is used
    config = HousekeepingConfig(cache_days=30, cache_bytes=1)
    assert list(clean(paths.root, config)) == ["DVC's cache"]
    (paths.root / "away").rename(paths.root / "dvc.yaml")
    assert {path for path in between if path.exists() and path.is_file()} == {young}
    assert all(path.exists() for path in released | waiting)
    assert versions.checkout(paths, "v1.0.0").is_dir()
    assert clean(paths.root, config) == {}
