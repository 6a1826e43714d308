"""Small files are read once: hashed, and their bytes cached; large ones are read again."""

import os
import sys
from hashlib import blake2b

import pytest

from evergreen.data.sources import _contents as contents
from evergreen.data.sources import _scan as scan
from evergreen.data.sources._contents import FileCache


@pytest.fixture
def files(tmp_path):
    """Paths and what they hold: small ones, an empty one, one too large to be held, a name that is not UTF-8."""
    held = {f"{tmp_path}/{number:02}.bin": os.urandom(number) for number in range(40)}
    held[f"{tmp_path}/20 large.bin"] = os.urandom(scan.LARGE + 1)
    held[os.fsdecode(os.fsencode(tmp_path) + b"/\xff.bin")] = b"odd"
    for path, data in held.items():
        with open(path, "wb") as file:
            file.write(data)
    return dict(sorted(held.items()))


def everything(batches):
    return [value for batch in batches for value in batch.to_pylist()]


@pytest.fixture(params=[1, 3])
def processes(request, monkeypatch):
    monkeypatch.setattr(contents, "SHARE", 5)
    monkeypatch.setattr(contents, "START", 0)
    monkeypatch.setattr(contents, "PROCESSES", request.param)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


@pytest.mark.parametrize("room", [0, 100, 1 << 20])
def test_what_a_file_is_known_by_and_what_it_holds(files, processes, room):
    kept = FileCache(room)
    signs, stamps = kept.scan(list(files))
    for sign, stamp, (path, data) in zip(signs.tolist(), stamps, files.items(), strict=True):
        told = os.stat(path)
        assert sign == [told.st_size, told.st_ino, told.st_mtime_ns, told.st_ctime_ns]
        assert stamp == blake2b(data, digest_size=16).hexdigest()
    assert everything(kept.read(list(files))) == list(files.values())
    assert everything(kept.read(list(files))) == list(files.values())  # nothing is kept now


def test_some_of_the_files_in_another_order(files, processes):
    kept = FileCache()
    kept.scan(list(files))
    some = [*list(files)[::3], *list(files)[::-1]]
    assert everything(kept.read(some)) == [files[path] for path in some]


def test_rows_are_of_the_bytes_that_were_hashed(files, processes):
    kept = FileCache()
    kept.scan(list(files))
    for path in files:
        with open(path, "wb") as file:
            file.write(b"other")
    told = everything(kept.read(list(files)))
    assert [one for one, data in zip(told, files.values(), strict=True) if one != data] == [b"other"]  # the large one


@pytest.mark.parametrize("size", [1, 5_000, scan.LARGE])
@pytest.mark.slow
def test_arrays_are_bounded_alike_whoever_scanned(tmp_path, monkeypatch, size):
    paths = [f"{tmp_path}/{number:04}" for number in range(3_000 if size < scan.LARGE else 30)]
    for number, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(bytes(size - number % 2))
    told = []
    monkeypatch.setattr(contents, "START", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for share, room, scanned in [
        (10_000, 0, paths),
        (7, 1 << 28, paths),
        (10_000, 1 << 20, paths),
        (7, 1 << 28, paths[1::3]),
    ]:
        monkeypatch.setattr(contents, "SHARE", share)
        kept = FileCache(room)
        kept.scan(scanned)
        batches = list(kept.read(paths))
        assert max(batch.nbytes for batch in batches) < scan.BYTES + 2 * scan.LARGE
        assert max(map(len, batches)) <= scan.AT_ONCE
        told.append([len(batch) for batch in batches])
        assert sum(told[-1]) == len(paths)
    assert told[1:] == told[:1] * 3


@pytest.mark.parametrize("broken", ["no such program", "/bin/false"])
def test_where_no_other_process_helps_all_is_read_here(files, monkeypatch, broken):
    monkeypatch.setattr(contents, "SHARE", 5)
    monkeypatch.setattr(contents, "START", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(sys, "executable", broken)
    kept = FileCache()
    kept.scan(list(files))
    assert everything(kept.read(list(files))) == list(files.values())


def test_a_file_that_is_gone_is_named(files, processes):
    for path in (min(files), max(files)):
        os.rename(path, f"{path}.gone")
        with pytest.raises(FileNotFoundError, match=os.path.basename(path) if path.isascii() else None):
            FileCache().scan(list(files))
        os.rename(f"{path}.gone", path)
