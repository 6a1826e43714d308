"""DVC's private state: where it lies, and that the person's own settings and secrets stay what they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evergreen.core.errors import VersionError
from evergreen.stages.engines import dvc_state, project

LETTERS = "Ünï 项目"
SECRET = "['remote \"ours\"']\n    url = https://example.org\n    password = s3cret\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project in a folder of letters beyond ASCII; DVC's state elsewhere lies in a folder of the test's."""
    monkeypatch.setattr(dvc_state, "ELSEWHERE", tmp_path)
    folder = tmp_path / LETTERS
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    project.create(folder)
    return folder


def dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_dvcs_own_command_keeps_what_stands_there(root):
    local = root / ".dvc" / "config.local"
    local.write_text(SECRET)
    dvc_state.prepare(root)
    dvc(root, "remote", "modify", "--local", "ours", "user", "ada")
    text = local.read_text()
    assert "password = s3cret" in text
    assert "user = ada" in text
    dvc_state.prepare(root)
    assert local.read_text() == text
    folder = Path(dvc(root, "config", "core.site_cache_dir").strip())
    assert str(folder).isascii()
    assert folder.is_relative_to(root.parent)
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    assert local.stat().st_mode & 0o777 == 0o600


def test_a_path_that_would_empty_the_file_is_replaced_and_the_rest_stays(root):
    local = root / ".dvc" / "config.local"
    local.write_text(f"# mine\n{SECRET}[core]\n    site_cache_dir = {root}/.evergreen/dvc\n    checksum_jobs = 3\n")
    dvc_state.prepare(root)
    text = local.read_text()
    assert text.isascii()
    for kept in ("# mine", "password = s3cret", "checksum_jobs = 3"):
        assert kept in text
    dvc(root, "remote", "modify", "--local", "ours", "user", "ada")
    assert "password = s3cret" in local.read_text()


def test_a_folder_of_somebody_else_is_not_used(root, tmp_path):
    if os.getuid():
        pytest.skip("only root can make a folder that is somebody else's")
    (tmp_path / "evergreen-0").mkdir()
    os.chown(tmp_path / "evergreen-0", 65534, 65534)
    with pytest.raises(VersionError, match="belongs to another user"):
        dvc_state.prepare(root)


@pytest.mark.parametrize(
    "junk",
    [b"[core\nx", b"\xff\xfe\0", b"core = 3\n", b"{}", b"<<<<<<< ours\n"],
    ids=["open", "bytes", "key", "json", "git"],
)
def test_junk_is_named_and_left_alone(root, junk):
    local = root / ".dvc" / "config.local"
    local.write_bytes(junk)
    with pytest.raises(VersionError, match=r"config\.local: .*mend it") as caught:
        dvc_state.prepare(root)
    assert "\n" not in str(caught.value)
    assert local.read_bytes() == junk
