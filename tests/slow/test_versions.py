"""Staleness, releases and bytes, with real git and real DVC in small clones: the shipped graph, tiny stages."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.stages.engines import dvc_cache, dvc_stages, git_tags, versions
from evergreen.stages.engines.dvc_graph import PARAMS
from evergreen.stages.pipeline import STAGES, read
from tests.slow.small_clone import FILE, PERSON, STAGE, build_clone, commit_all_but_lock, dvc, run, running, sh


def stale(paths: Paths, stage: str) -> str | None:
    return versions.stale_reason(read(paths.name, paths.root), paths, stage)


def edit(paths: Paths, old: str, new: str) -> None:
    paths.pipeline.write_text(paths.pipeline.read_text().replace(old, new))


def train_again(paths: Paths, epochs: int) -> None:
    """A new candidate, recorded."""
    edit(paths, paths.pipeline.read_text().partition("  epochs: ")[2][:1], str(epochs))
    for stage in ("train", "validate", "report"):
        run(paths, stage)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where git knows no name."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_clone(tmp_path_factory.mktemp("versions") / "pattern")


@pytest.fixture
def paths(pattern: Path, tmp_path: Path) -> Paths:
    """A copy in which everything but dvc.lock is committed."""
    shutil.copytree(pattern, tmp_path / "clone", symlinks=True)
    commit_all_but_lock(tmp_path / "clone")
    return Paths(tmp_path / "clone", "alpha")


def test_what_is_recorded_is_up_to_date_for_dvc_too(paths: Paths) -> None:
    assert versions.is_up_to_date(read(paths.name, paths.root), paths)
    assert [stale(paths, stage) for stage in STAGES] == [None] * len(STAGES)
    assert re.findall(r"^\S+", dvc(paths.root, "status"), re.MULTILINE) == ["versions@alpha:"]
    assert running(dvc(paths.root, "repro")) == ["versions@alpha"]
    lock = (paths.root / "dvc.lock").read_text().replace(f"{sys.executable} stage.py", "evergreen")
    assert len(lock) <= 5 * 1024
    assert not sh(paths.root, "git", "status", "--porcelain", "--", "data", "models", ".dvc")
    assert not list(paths.root.glob("*/store/**/.gitignore"))


def test_what_is_recorded_is_what_dvc_would_have_written(paths: Paths) -> None:
    lock = paths.root / "dvc.lock"
    paths.pipeline.write_text(FILE.replace("target: digit", 'target: "one\\n\\n  two"'))
    for stage in ("preprocess", "train"):
        run(paths, stage)
        ours = lock.read_bytes()
        lock.write_bytes(ours.replace(b"stages:\n", b"stages:\n\n", 1))  # so that DVC writes it anew
        dvc(paths.root, "commit", "--force", f"{stage}@{paths.name}")
        assert lock.read_bytes().replace(b"stages:\n\n", b"stages:\n") == ours
    lock.write_text("# Ada's own words\n" + lock.read_text() + "datasets: []\n")
    run(paths, "preprocess")
    assert stale(paths, "preprocess") is None
    assert YAML(typ="safe").load(lock)["datasets"] == []


def test_state_is_private_and_moves_with_the_clone(paths: Paths) -> None:
    (paths.root / ".dvc" / "config.local").write_text(
        "['remote \"ours\"']\n    url = https://example.org\n    password = secret\n"
    )
    assert versions.is_up_to_date(read(paths.name, paths.root), paths)
    local = (paths.root / ".dvc" / "config.local").read_text()
    assert "password = secret" in local
    assert (paths.root / ".dvc" / "config.local").stat().st_mode & 0o777 == 0o600
    assert f"site_cache_dir = {paths.root}/.evergreen/dvc" in local
    assert dvc(paths.root, "config", "core.site_cache_dir").strip() == f"{paths.root}/.evergreen/dvc"
    assert (paths.home / "dvc").stat().st_mode & 0o777 == 0o700
    assert (paths.home).stat().st_mode & 0o777 == 0o700


def test_all_cores_hash_unless_the_person_says_how_many(paths: Paths) -> None:
    with dvc_stages.open_repo(paths.root) as repo:
        assert repo.stage.load_one(name=f"train@{paths.name}").outs[0].fs.hash_jobs == os.cpu_count()
    dvc(paths.root, "config", "core.checksum_jobs", "7")
    with dvc_stages.open_repo(paths.root) as repo:
        assert repo.stage.load_one(name=f"train@{paths.name}").outs[0].fs.hash_jobs == 7


STALE = [
    ("  epochs: 3", "  epochs: 4", "train", "params train.epochs changed"),
    ("tune:\n", "tune: {trials: 2}\n", "tune", "params tune, tune.trials changed"),
    ("task: classification", "task: regression", "preprocess", "params task changed"),
]


@pytest.mark.parametrize(("old", "new", "stage", "reason"), STALE)
def test_a_setting_makes_stale_what_reads_it(paths: Paths, old: str, new: str, stage: str, reason: str) -> None:
    edit(paths, old, new)
    assert stale(paths, stage) == reason
    assert stale(paths, "collect") is None
    assert not versions.is_up_to_date(read(paths.name, paths.root), paths)


def test_bytes_make_stale_what_reads_them(paths: Paths) -> None:
    shutil.rmtree(paths.candidate)
    assert stale(paths, "train") == "missing output: models/store/alpha/candidate"
    assert stale(paths, "validate") == "missing input: models/store/alpha/candidate"
    (paths.ready / "train" / "part.parquet").write_text("other")
    assert stale(paths, "preprocess") == "output changed: data/store/alpha/ready"
    assert stale(paths, "select") == "input changed: data/store/alpha/ready"
    (paths.root / "dvc.lock").unlink()
    assert stale(paths, "collect") == "never run"


def test_a_number_under_train_reruns_what_follows_from_it_alone(paths: Paths) -> None:
    edit(paths, "  epochs: 3", "  epochs: 5")
    assert running(dvc(paths.root, "repro")) == ["versions@alpha", "train@alpha", "validate@alpha", "report@alpha"]
    assert versions.is_up_to_date(read(paths.name, paths.root), paths)


@pytest.mark.parametrize("text", ["{{:", "a: 1", ""])
def test_a_broken_lock_file_is_named_with_the_way_out(paths: Paths, text: str) -> None:
    (paths.root / "dvc.lock").write_text(text)
    with pytest.raises(VersionError, match=r"^dvc\.lock: cannot be read.*git checkout dvc\.lock"):
        stale(paths, "train")


def test_missing_sections_are_added_and_the_rest_kept(paths: Paths) -> None:
    minimal = FILE.partition("select")[0].rstrip("\n") + "  # mine"
    paths.pipeline.write_text(minimal)
    assert versions.register_pipeline(paths) == [
        "pipelines/alpha.yaml: added the empty sections select, tune, train, validate"
    ]
    assert paths.pipeline.read_text() == minimal + "\nselect: {}\ntune: {}\ntrain: {}\nvalidate: {}\n"
    assert versions.register_pipeline(paths) == []
    paths.pipeline.write_text("{task: classification}")
    with pytest.raises(VersionError, match=r"pipelines/alpha\.yaml: .*on its own line"):
        versions.register_pipeline(paths)
    assert paths.pipeline.read_text() == "{task: classification}"


def test_a_new_pipeline_enters_the_list_by_itself(paths: Paths) -> None:
    beta = Paths(paths.root, "beta")
    beta.pipeline.write_text(FILE)
    assert stale(beta, "train") == "never run"
    assert not versions.is_up_to_date(read(beta.name, beta.root), beta)
    for stage in STAGES:
        run(beta, stage)
    assert (paths.root / "params.yaml").read_text() == PARAMS.replace(" []", "") + "  - alpha\n  - beta\n"
    assert versions.is_up_to_date(read(beta.name, beta.root), beta)
    assert versions.release(beta) == "v1.0.0"
    assert sh(paths.root, "git", "show", "--name-only", "--format=", "HEAD").split() == ["dvc.lock", "params.yaml"]


def test_a_changed_list_of_pipelines_stays_the_persons(paths: Paths) -> None:
    params = paths.root / "params.yaml"
    params.write_text("# a new comment\npipelines:\n  - alpha\n  - beta\n")
    versions.release(paths)
    assert sh(paths.root, "git", "show", "--name-only", "--format=", "HEAD").split() == ["dvc.lock"]


def test_another_process_at_work_is_waited_for(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.1)  # DVC's own patience, in seconds
    monkeypatch.setattr(dvc_stages, "PATIENCE_SECONDS", 0.1)
    holder = (
        "import sys, zc.lockfile; lock = zc.lockfile.LockFile('.dvc/tmp/lock'); print(1, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", holder], cwd=paths.root, stdin=-1, stdout=-1)
    assert other.stdout is not None
    other.stdout.readline()
    try:
        assert stale(paths, "train") is None  # who only asks waits for nobody
        with pytest.raises(VersionError, match=r"another DVC process is at work.*wait until it has ended"):
            versions.commit(paths, "train")
        monkeypatch.setattr(dvc_stages, "PATIENCE_SECONDS", 30)
        threading.Timer(0.5, other.terminate).start()
        versions.commit(paths, "train")
    finally:
        other.kill()
        other.wait()


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
        == [git_tags.head(paths.root)] * 3
    )
    assert versions.released(paths.root) == {"alpha": "v1.0.0"}
    assert not sh(paths.root, "git", "status", "--porcelain", "dvc.lock").startswith(" M")


def test_a_lock_file_the_person_committed_is_not_committed_again(paths: Paths) -> None:
    sh(paths.root, "git", "add", "dvc.lock")
    sh(paths.root, "git", *PERSON, "commit", "-qm", "mine")
    head = git_tags.head(paths.root)
    versions.release(paths)
    assert git_tags.head(paths.root) == head == versions.versions(paths)[0].commit


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
