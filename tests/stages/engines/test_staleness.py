"""Staleness with real git and real DVC in small clones: the shipped graph, tiny stages."""

import os
import re
import shutil
import subprocess
import sys
import threading

import pytest
from ruamel.yaml import YAML

from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.stages.engines import dvc_stages, versions
from evergreen.stages.engines.dvc_graph import PARAMS
from evergreen.stages.pipeline import STAGES, read
from tests.stages.engines.small_clone import FILE, dvc, edit, run, running, sh

pytestmark = pytest.mark.slow


def stale(paths: Paths, stage: str) -> str | None:
    return versions.stale_reason(read(paths.name, paths.root), paths, stage)


def test_what_is_recorded_is_up_to_date_for_dvc_too(paths: Paths) -> None:
    assert versions.is_up_to_date(read(paths.name, paths.root), paths)
    assert [stale(paths, stage) for stage in STAGES] == [None] * len(STAGES)
    assert re.findall(r"^\S+", dvc(paths.root, "status"), re.MULTILINE) == ["versions@alpha:"]
    assert running(dvc(paths.root, "repro")) == ["versions@alpha"]
    lock = (paths.root / "dvc.lock").read_text().replace(f"{sys.executable} stage.py", "evergreen")
    assert len(lock.replace("alpha", "high_digits_frozen")) <= 5_000  # the longest name of this repository
    assert not sh(paths.root, "git", "status", "--porcelain", "--", "data", "models", ".dvc")
    assert not list(paths.root.glob("*/store/**/.gitignore"))


def test_what_is_recorded_is_what_dvc_would_have_written(paths: Paths) -> None:
    """All but sizes of inputs and numbers of files, which DVC never compares: each output says its size."""
    lock, left_out = paths.root / "dvc.lock", re.compile(rb"^      (size|nfiles): \d+\n", re.MULTILINE)
    paths.pipeline.write_text(FILE.replace("target: digit", 'target: "one\\n\\n  two"'))
    for stage in ("preprocess", "train"):
        run(paths, stage)
        ours = lock.read_bytes()
        lock.write_bytes(ours.replace(b"stages:\n", b"stages:\n\n", 1))  # so that DVC writes it anew
        dvc(paths.root, "commit", "--force", f"{stage}@{paths.name}")
        theirs = lock.read_bytes().replace(b"stages:\n\n", b"stages:\n")
        assert left_out.sub(b"", theirs) == left_out.sub(b"", ours)
        assert len(theirs) > len(ours)
    recorded = YAML(typ="safe").load(ours)["stages"][f"train@{paths.name}"]
    assert [("size" in file, "nfiles" in file) for file in recorded["outs"]] == [(True, False)]
    assert not any("size" in file for file in recorded["deps"])
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
