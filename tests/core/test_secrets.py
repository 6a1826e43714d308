"""A secret is made once, for its owner alone, and mended where it cannot be one."""

import pytest

from evergreen.core.errors import PipelineError
from evergreen.core.files import make_private, read_secret


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "key"
    secret = read_secret(path, "user:")
    assert secret.startswith("user:")
    assert len(secret) == 5 + 64
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert read_secret(path, "user:") == secret == path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["key"]
    assert read_secret(tmp_path / "other", "user:") != secret


@pytest.mark.parametrize(
    "junk", [b"", b"\n", b"user:", b"user:short", b"\xff\xfe" * 50, b"x" * 100, b"user:\n" * 50, "user:é".encode() * 30]
)
def test_what_cannot_be_a_secret_is_made_anew(tmp_path, junk):
    path = tmp_path / "key"
    path.write_bytes(junk)
    secret = read_secret(path, "user:")
    assert (len(secret), secret.isascii()) == (5 + 64, True)
    assert read_secret(path, "user:") == secret


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "key").mkdir()
    with pytest.raises(PipelineError, match="key: the secret cannot be read"):
        read_secret(tmp_path / "key")


def test_a_folder_is_made_private_with_what_is_in_it(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir(mode=0o755)
    (folder / "file").touch()
    assert make_private(folder) == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "file").exists()
