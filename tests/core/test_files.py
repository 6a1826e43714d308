"""What is written whole survives a power cut: its bytes lie on the disk before its name, its name when all is done."""

import os

import pytest

from evergreen.core.files import atomic_directory, write_text


@pytest.fixture
def synced(monkeypatch):
    """The names of what was synced, in order, a temporary one as "temporary"."""
    order = []

    def note(descriptor):
        name = os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2]
        order.append("temporary" if name.endswith(".tmp") else name)

    monkeypatch.setattr("os.fsync", note)
    return order


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Linux tells the name of an open file")
@pytest.mark.slow  # it waits for the disk, which others keep busy
def test_bytes_lie_on_the_disk_before_their_name(tmp_path, synced):
    write_text(tmp_path / "a.json", "{}")
    assert synced == ["temporary", tmp_path.name]
    synced.clear()
    with atomic_directory(tmp_path / "folder") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("x")
    assert sorted(synced[:-2]) == ["file", "inner"]
    assert synced[-2:] == ["temporary", tmp_path.name]
