"""Hash many files, and hold the contents of small ones.

`scan_files` does it here. As a program, which needs Python alone and so starts in 20 ms, this file takes paths that end
in NUL from its input and writes chunks to its output, which `read_chunks` reads.
"""

from __future__ import annotations

import gc
import os
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b, file_digest
from typing import NamedTuple

LARGE = 1 << 20  # bytes of a file that is hashed and not held
AT_ONCE, BYTES = 1024, 1 << 22  # files of a chunk, at most, and what they hold; the last may be more
SIGN, MOST = 4, (1 << 63) - 1  # numbers by which a file is seen to be as it was, and how large one may be
STAMP = 32  # characters of a stamp
HEAD = struct.Struct("<3q")  # files, whether they are held, bytes held


class Chunk(NamedTuple):
    """Hold some files in order: SIGN numbers and STAMP characters of each, and, if held, their lengths and contents."""

    signs: array[int] | memoryview
    stamps: str
    lengths: array[int] | memoryview | None
    data: bytes | memoryview

    @property
    def files(self) -> int:
        """Return the number of files."""
        return len(self.stamps) // STAMP


def scan_files(paths: Sequence[str], room: int) -> Iterator[Chunk]:
    """Yield the files in chunks that hold at most `room` bytes. Raises OSError where one cannot be read."""
    signs: list[int] = []
    stamps: list[bytes] = []
    contents: list[bytes] = []
    size = 0
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            stat = os.fstat(file)
            length = stat.st_size
            if length <= room and length <= LARGE:
                content = os.read(file, length + 1)
                if len(content) != length:  # it grows while it is read
                    content += _rest(file)
                stamp = blake2b(content, digest_size=STAMP // 2).digest()
            else:
                content, stamp = None, bytes.fromhex(hash_descriptor(file))
        finally:
            os.close(file)
        if (content is None) is bool(contents) and stamps:
            yield _chunk(signs, stamps, contents)
            signs, stamps, contents, size = [], [], [], 0
        signs += stat_signature(stat)
        stamps.append(stamp)
        if content is not None:
            contents.append(content)
            size, room = size + length, room - length
        if len(stamps) == AT_ONCE or size >= BYTES:
            yield _chunk(signs, stamps, contents)
            signs, stamps, contents, size = [], [], [], 0
    if stamps:
        yield _chunk(signs, stamps, contents)


def stat_signature(stat: os.stat_result) -> tuple[int, int, int, int]:
    """Return what shows that a file changed: size, inode, mtime and ctime, in nanoseconds."""
    return stat.st_size, stat.st_ino & MOST, stat.st_mtime_ns, stat.st_ctime_ns


def hash_descriptor(file: int) -> str:
    """Return the hash of an open file; takes about a second a gigabyte."""
    with os.fdopen(file, "rb", closefd=False) as opened:
        return file_digest(opened, lambda: blake2b(digest_size=STAMP // 2)).hexdigest()


def read_chunks(written: memoryview) -> Iterator[Chunk]:
    """Yield chunks that were written, without a copy of the contents."""
    at = 0

    def part(size: int) -> memoryview:
        nonlocal at
        at += size
        return written[at - size : at]

    while at < len(written):
        files, n_bytes, size = HEAD.unpack(part(HEAD.size))
        signs, stamps = part(8 * SIGN * files).cast("q"), str(part(STAMP * files), "ascii")
        yield Chunk(signs, stamps, part(8 * files).cast("q") if n_bytes else None, part(size))


def _chunk(signs: list[int], stamps: list[bytes], contents: list[bytes]) -> Chunk:
    lengths = array("q", map(len, contents)) if contents else None
    return Chunk(array("q", signs), b"".join(stamps).hex(), lengths, b"".join(contents))


def _rest(file: int) -> bytes:
    blocks = []
    while block := os.read(file, LARGE):
        blocks.append(block)
    return b"".join(blocks)


def main(room: int) -> None:
    """Scan the files named on standard input, and write chunks to standard output."""
    gc.disable()  # nothing here is in cycles
    paths = os.fsdecode(sys.stdin.buffer.read()).split("\0")[:-1]
    for chunk in scan_files(paths, room):
        head = HEAD.pack(chunk.files, chunk.lengths is not None, len(chunk.data))
        sys.stdout.buffer.write(b"".join([head, chunk.signs, chunk.stamps.encode(), chunk.lengths or b"", chunk.data]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
