"""Read small files once: hash them, and cache their bytes for the parser.

Python opens about 150,000 files a second, whatever the disk can, so further processes read shares of very many files.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise, takewhile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data.sources import _scan as scan
from evergreen.data.sources._scan import AT_ONCE, BYTES, SIGN, STAMP, Chunk

KEPT = 1 << 28  # bytes of files kept from one reading to the next
SHARE, PROCESSES = 10_000, 4  # files that are worth a process, and how many there are at most, this one with them
START = 10_000  # files that are read here while another process starts, and tells what it found


class FileCache:
    """Cache the contents of small files between hashing and parsing: opening them twice would cost most."""

    def __init__(self, most: int = KEPT) -> None:
        self.most = most  # bytes
        self._places: dict[str, int] = {}
        self._paths: Sequence[str] = []
        self._starts: list[int] = []
        self._kept: list[pa.BinaryArray | None] = []

    def scan(self, paths: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Return (files, SIGN) stat signatures and the content hashes of files; the cache is emptied before.

        Raises OSError where a file cannot be read.
        """
        self._paths, self._places = paths, dict(zip(paths, range(len(paths)), strict=True))
        self._starts, self._kept = [], []
        signs, stamps = [np.empty(0, np.int64)], list[str]()
        for chunk in _shared(paths, self.most):
            self._starts.append(len(stamps))
            self._kept.append(_column(chunk))
            signs.append(np.frombuffer(chunk.signs, np.int64))
            stamps += [chunk.stamps[at : at + STAMP] for at in range(0, len(chunk.stamps), STAMP)]
        return np.concatenate(signs).reshape(-1, SIGN), stamps

    def read(self, paths: Sequence[str]) -> Iterator[pa.BinaryArray]:
        """Yield the contents of files in order, from the cache where they are kept.

        An array ends at AT_ONCE files or BYTES, with the last file complete, whatever is cached.
        """
        done = 0
        while done < len(paths):
            end, size, pieces = done + AT_ONCE, 0, list[pa.BinaryArray]()
            while done < min(end, len(paths)) and size < BYTES:
                pieces.append(self._taken(paths[done:end], BYTES - size))
                done, size = done + len(pieces[-1]), size + pc.sum(pc.binary_length(pieces[-1])).as_py()
            yield pa.concat_arrays(pieces) if len(pieces) > 1 else pieces[0]

    def _taken(self, paths: Sequence[str], most: int) -> pa.BinaryArray:
        """Return the contents of the first paths that lie together, up to `most` bytes; free a block after its end."""
        place, block = self._place(paths[0])
        column = self._kept[block] if block >= 0 else None
        if column is None:
            return _read(takewhile(lambda path: not self._keeps(path), paths), most)
        first = place - self._starts[block]
        paths_taken = self._paths[place : place + min(len(column) - first, len(paths))]
        count = len(paths_taken)
        if paths_taken != paths[:count]:
            pairs = enumerate(zip(paths, paths_taken, strict=False))
            count = next((number for number, (one, other) in pairs if one != other), count)
        ends = np.cumsum(pc.binary_length(column.slice(first, count)))
        count = min(count, int(np.searchsorted(ends, most)) + 1)
        if first + count == len(column):
            self._kept[block] = None
        return column.slice(first, count)

    def _place(self, path: str) -> tuple[int, int]:
        """Return where a path was scanned, and its block; -1 for one that was not."""
        place = self._places.get(path, -1)
        return place, bisect(self._starts, place) - 1

    def _keeps(self, path: str) -> bool:
        block = self._place(path)[1]
        return block >= 0 and self._kept[block] is not None


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return all bytes of a file."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _read(paths: Iterable[str], most: int) -> pa.BinaryArray:
    """Return the contents of the first files, up to `most` bytes, with the last file complete."""
    data: list[bytes] = []
    size = 0
    for path in paths:
        data.append(read_bytes(path))
        size += len(data[-1])
        if size >= most:
            break
    return pa.array(data, pa.binary())


def _column(chunk: Chunk) -> pa.BinaryArray | None:
    """Return (files,) the contents without a copy; None where they are not held."""
    if chunk.lengths is None:
        return None
    offsets = np.zeros(chunk.files + 1, np.int32)
    np.cumsum(chunk.lengths, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(chunk.data)]
    return pa.BinaryArray.from_buffers(pa.binary(), chunk.files, buffers)


def _shared(paths: Sequence[str], room: int) -> Iterator[Chunk]:
    """Yield the chunks of all files in order; of very many files other processes read the first shares."""
    shares = max(1, min(PROCESSES, os.cpu_count() or 1, len(paths) // SHARE))
    each = (len(paths) - START) // shares
    starts = [number * each for number in range(shares)]
    parts = [paths[start:end] for start, end in pairwise([*starts, len(paths)])]
    with ExitStack() as stack:
        children = [stack.enter_context(_Apart(part, room // shares)) for part in parts[:-1]]
        own = list(scan.scan_files(parts[-1], room // shares))
        for child in children:
            yield from child.chunks()
        yield from own


class _Apart:
    """Read a share of the files in another process, which writes its chunks into an anonymous file."""

    def __init__(self, paths: Sequence[str], room: int) -> None:
        self.paths, self.room = paths, room
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Apart:
        # by its path, with nothing but Python itself, so that it starts at once
        command = [sys.executable, "-I", "-S", scan.__file__, str(self.room)]
        with suppress(OSError), tempfile.TemporaryFile() as asked:
            self.found = tempfile.TemporaryFile()
            asked.write(b"".join(os.fsencode(path) + b"\0" for path in self.paths))
            asked.seek(0)
            self.process = subprocess.Popen(command, stdin=asked, stdout=self.found, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def chunks(self) -> Iterator[Chunk]:
        if self.process is None or self.process.wait():  # for a reason that who reads the files here finds, too
            return scan.scan_files(self.paths, self.room)
        return scan.read_chunks(memoryview(mmap.mmap(self.found.fileno(), 0, access=mmap.ACCESS_READ)))
