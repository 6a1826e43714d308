"""Files that hold rows: which there are, whether they changed, and their bytes, decompressed by their ending."""

from __future__ import annotations

import gzip
import lzma
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

HOME = ".evergreen"  # the ignored folder of a clone: what is kept there is only ever saved work
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".xz": "xz"}
BLOCK, SMALL = 1 << 20, 1 << 14  # bytes read at once: of a file, and first of one that may be small
KEPT = 1 << 28  # bytes of files kept from one reading to the next
SIGNS = ("size", "inode", "mtime", "ctime")  # by which a file is seen to be as it was; times in nanoseconds
Sign = tuple[int, int, int, int]
LATEST = (1 << 63) - 1  # a clock may be wrong by any amount
SETTLED_NS = 2_000_000_000  # a file changed less than this ago may change again within the same tick of its clock


class File(NamedTuple):
    """A file of a source: its name below the source, bytes, and a stamp that changes when its content does."""

    name: str
    size: int
    stamp: str


def ending(name: str) -> str:
    """The ending that says what a file holds, in lower case: ".csv" of "a.csv" and of "a.CSV.gz"."""
    stem, last = os.path.splitext(name.lower())
    return os.path.splitext(stem)[1] if last in COMPRESSED else last


def walk(folder: Path, endings: Sequence[str]) -> list[str]:
    """The files below a folder that end so, in the order of their paths; what is hidden is none."""
    found, todo = [], [""]
    plain = tuple(endings)  # most names need no more than this to be seen
    while todo:
        inside = todo.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{inside}{name}/")
                elif (name.endswith(plain) or ending(name) in endings) and entry.is_file():
                    found.append(inside + name)
    return sorted(found)


def opened(path: Path) -> BinaryIO:
    """The file's content, to be read from its beginning; OSError, EOFError or ValueError where it is damaged."""
    kind = COMPRESSED.get(path.suffix.lower())
    if kind == "gzip":  # Arrow's own reads a file that was cut off as if it ended there
        return gzip.open(path)  # type: ignore[return-value]
    if kind == "xz":
        return lzma.open(path)  # type: ignore[return-value]
    return pa.CompressedInputStream(pa.OSFile(str(path)), kind) if kind else path.open("rb")


class Contents:
    """What files hold. What was read to see whether they are new is kept, as long as it is little, to be asked for
    once: opening many small files twice would cost more than all else."""

    def __init__(self, most: int = KEPT) -> None:
        self.room = most  # bytes
        self._kept: dict[str, bytes] = {}

    def stamp(self, path: str) -> tuple[Sign, str]:
        """What a file is known by, and the hash of its content: about a second a gigabyte."""
        if stale := self._kept.pop(path, None):
            self.room += len(stale)
        file = os.open(path, os.O_RDONLY)
        try:
            sign = _sign(os.fstat(file))
            size = sign[0]
            if size > self.room or size > BLOCK:
                return sign, _hash(file)
            data = os.read(file, size + 1)
            if len(data) != size:  # it grows while it is read
                data += _all(file)
        finally:
            os.close(file)
        self._kept[path] = data
        self.room -= len(data)
        return sign, blake2b(data, digest_size=16).hexdigest()

    def take(self, path: str) -> bytes:
        """The content of a file: that which was stamped, where it is here still."""
        data = self._kept.pop(path, None)
        if data is None:
            return content(path)
        self.room += len(data)
        return data


def stamped(folder: Path, names: Sequence[str], root: Path, contents: Contents | None = None) -> list[File]:
    """The files with hashes of their contents.

    A file is read again only if its size, its inode or a time of it differ from when it was read last: times are
    compared with what was noted of them, never with the clock, so one that jumps does no harm.
    """
    memory = root / HOME / "stamps" / f"{blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()}.arrow"
    known = _remembered(memory)
    contents = contents or Contents(0)
    base = f"{folder}/"
    found = []
    for name in names:
        held = known.get(name)
        found.append(held if held and held[0] == _sign(os.stat(base + name)) else contents.stamp(base + name))
    signs, stamps = zip(*found, strict=True) if found else ((), ())
    if len(known) != len(names) or any(known.get(name) is not held for name, held in zip(names, found, strict=True)):
        _remember(memory, names, signs, stamps)
    return [File(name, sign[0], stamp) for name, (sign, stamp) in zip(names, found, strict=True)]


def content(path: str | Path) -> bytes:
    """All of a file. Of many small ones, file objects would cost more than the reading."""
    file = os.open(path, os.O_RDONLY)
    try:
        return _all(file)
    finally:
        os.close(file)


def _all(file: int) -> bytes:
    data = os.read(file, SMALL)
    if len(data) < SMALL:  # its end
        return data
    blocks = [data]
    while block := os.read(file, BLOCK):
        blocks.append(block)
    return b"".join(blocks)


def content_hash(path: str | Path) -> str:
    """About a second a gigabyte."""
    file = os.open(path, os.O_RDONLY)
    try:
        return _hash(file)
    finally:
        os.close(file)


def _hash(file: int) -> str:
    with os.fdopen(file, "rb", closefd=False) as opened:
        return file_digest(opened, lambda: blake2b(digest_size=16)).hexdigest()


def combined(files: Iterable[File]) -> str:
    """One stamp for many files: it changes with any name and any content."""
    total = blake2b(digest_size=16)
    for file in files:
        total.update(f"{file.name}\0{file.stamp}\0".encode())
    return total.hexdigest()


def grouped(files: Sequence[File], size: int, count: int) -> Iterator[list[File]]:
    """Files in order, in groups of at most `size` bytes and `count` files; a larger file is a group of its own."""
    group: list[File] = []
    held = 0
    for file in files:
        if group and (held + file.size > size or len(group) == count):
            yield group
            group, held = [], 0
        group.append(file)
        held += file.size
    if group:
        yield group


def _sign(stat: os.stat_result) -> Sign:
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _remembered(memory: Path) -> dict[str, tuple[Sign, str]]:
    """File → (sign, stamp), as noted last; nothing where that cannot be read."""
    try:
        table = feather.read_table(memory)
        name, stamp, *signs = (table[column].to_pylist() for column in ("name", "stamp", *SIGNS))
        return dict(zip(name, zip(zip(*signs, strict=True), stamp, strict=True), strict=True))
    except (OSError, pa.ArrowInvalid, KeyError):
        return {}


def _remember(memory: Path, names: Sequence[str], signs: Sequence[Sign], stamps: Sequence[str]) -> None:
    """Notes what was read, but not of files that may still be changing."""
    columns = [pa.array(values) for values in zip(*signs, strict=True)]
    table = pa.table([pa.array(names), pa.array(stamps), *columns], names=["name", "stamp", *SIGNS])
    settled = min(time.time_ns() - SETTLED_NS, LATEST)
    table = table.filter((pc.field("mtime") < settled) & (pc.field("ctime") < settled))
    if not len(table):
        return
    temporary = memory.with_suffix(f".{os.getpid()}.tmp")
    try:
        (memory.parent.parent).mkdir(mode=0o700, exist_ok=True)
        memory.parent.mkdir(exist_ok=True)
        feather.write_feather(table, temporary)
        temporary.replace(memory)
    except OSError:  # no place to keep notes: all is read again next time
        temporary.unlink(missing_ok=True)
