"""A machine is lost: git, DVC's remote and a backup bring back what was released, its keys and its request log."""

import shutil
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from evergreen.cli import main
from evergreen.core.errors import PipelineError
from evergreen.core.files import make_private
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock
from evergreen.stages.deploy import api_keys
from evergreen.stages.engines import dvc_cache, versions
from evergreen.stages.engines.backup_file import restore_backup, write_backup
from tests.stages.engines.small_clone import PERSON, dvc, sh


@pytest.fixture
def home(tmp_path, monkeypatch):
    """What runs in a project leaves behind."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return fill(tmp_path)


def fill(root: Path) -> Path:
    home = make_private(root / ".evergreen")
    for place in ("requests/alpha/2026-01-01/a.parquet", "history/alpha/1.jsonl", "requests/alpha/labels/1.parquet"):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text(place)
    for place in ("released/alpha/v1.0.0/weights", "runs/alpha/x", "ray/log", "locks/alpha", "rows-ab/x", "ray.json"):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text("")
    (home / "prefect").mkdir(exist_ok=True)
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE run (name TEXT)")
        database.execute("INSERT INTO run VALUES ('alpha: schedule')")
        database.commit()
    return home


def test_a_backup_holds_what_cannot_be_made_anew_as_it_stands_at_one_moment(home, tmp_path, capsys):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text("secret")
    writing = sqlite3.connect(home / "prefect" / "prefect.db", isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    writing.execute("INSERT INTO run VALUES ('not yet')")
    assert main.main(["backup", "kept.tar.gz"]) == 0
    writing.execute("ROLLBACK")
    writing.close()
    assert "git push --follow-tags and evergreen dvc push keep the rest" in capsys.readouterr().out
    assert stat.S_IMODE(Path("kept.tar.gz").stat().st_mode) == 0o600
    with tarfile.open("kept.tar.gz") as archive:
        assert [one.name for one in archive] == [
            "evergreen-backup.json",
            *(".evergreen/history/alpha/1.jsonl", ".evergreen/prefect/prefect.db"),
            *(".evergreen/requests/alpha/2026-01-01/a.parquet", ".evergreen/requests/alpha/labels/1.parquet"),
            ".dvc/config.local",
        ]
    shutil.rmtree(home)
    (tmp_path / ".dvc" / "config.local").unlink()
    assert restore_backup(tmp_path, Path("kept.tar.gz")) == 5
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        assert database.execute("SELECT * FROM run").fetchall() == [("alpha: schedule",)]
    assert (tmp_path / ".dvc" / "config.local").read_text() == "secret"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [one.name for one in home.glob("backup-*")] == []


def test_a_restore_overwrites_nothing_and_may_be_called_again(home, tmp_path):
    file = tmp_path / "kept.tar.gz"
    write_backup(tmp_path, file)
    shutil.rmtree(home)
    for _ in range(2):  # the second time as after one that was killed at its end
        assert restore_backup(tmp_path, file) == 4
    log = home / "history" / "alpha" / "1.jsonl"
    log.write_text("newer")
    (home / "requests" / "alpha" / "labels" / "1.parquet").unlink()
    with pytest.raises(
        PipelineError, match=r"holds others already: \.evergreen/history/alpha/1\.jsonl; move that away"
    ):
        restore_backup(tmp_path, file)
    assert log.read_text() == "newer"
    assert not (home / "requests" / "alpha" / "labels" / "1.parquet").exists()
    with (
        exclusive_lock(home / "locks" / "watch", ""),
        pytest.raises(PipelineError, match="watch is at work in this project; end it first with: evergreen stop"),
    ):
        restore_backup(tmp_path, file)


@pytest.mark.parametrize("name", ["../outside", ".evergreen/../../outside", "pipelines/alpha.yaml", "/etc/x"])
def test_what_no_backup_holds_is_refused(home, tmp_path, name):
    file = tmp_path / "odd.tar.gz"
    (tmp_path / "head").write_text('{"format": 1}')
    with tarfile.open(file, "w:gz") as archive:
        archive.add(tmp_path / "head", "evergreen-backup.json")
        member = tarfile.TarInfo(name)
        member.mode = 0o600
        archive.addfile(member)
    with pytest.raises(PipelineError, match="which no backup does"):
        restore_backup(tmp_path, file)


def test_damaged_and_newer_files_are_said(home, tmp_path):
    for content, why in ((b"no", "is no backup of Evergreen's, or damaged"), (None, "there is no such file")):
        file = tmp_path / "broken.tar.gz"
        file.unlink(missing_ok=True)
        if content:
            file.write_bytes(content)
        with pytest.raises(PipelineError, match=why):
            restore_backup(tmp_path, file)
    (tmp_path / "head").write_text('{"format": 2}')
    with tarfile.open(file, "w:gz") as archive:
        archive.add(tmp_path / "head", "evergreen-backup.json")
    with pytest.raises(PipelineError, match="written by a newer Evergreen"):
        restore_backup(tmp_path, file)


@pytest.mark.slow
def test_a_lost_machine_comes_back_from_git_remote_and_backup(paths: Paths, tmp_path: Path) -> None:
    root = paths.root
    sh(tmp_path, "git", "init", "-q", "--bare", "-b", "main", "repository.git")
    sh(root, "git", "remote", "add", "origin", str(tmp_path / "repository.git"))
    dvc(root, "remote", "add", "-q", "-d", "store", str(tmp_path / "remote"))
    sh(root, "git", *PERSON, "commit", "-qam", "a remote")
    assert versions.release(paths) == "v1.0.0"
    sh(root, "git", "push", "-q", "--follow-tags", "-u", "origin", "main")
    fill(root)
    secret = api_keys.add_key(root, "shop")
    before = dvc_cache.folder_md5(versions.checkout(paths, "v1.0.0"))
    write_backup(root, tmp_path / "kept.tar.gz")
    shutil.rmtree(root)
    sh(tmp_path, "git", "clone", "-q", "repository.git", "new machine")
    back = Paths(tmp_path / "new machine", "alpha")
    restore_backup(back.root, tmp_path / "kept.tar.gz")
    assert versions.released(back.root) == {"alpha": "v1.0.0"}
    assert dvc_cache.folder_md5(versions.checkout(back, "v1.0.0")) == before
    doorkeeper = api_keys.Doorkeeper(api_keys.keys_file(back.root))
    assert doorkeeper.identify({"authorization": f"Bearer {secret}"}).name == "shop"
    assert (back.requests / "2026-01-01" / "a.parquet").is_file()
