"""Files that hold rows: which there are, whether they changed, and their bytes, decompressed by their ending."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.feather as feather

HOME = ".evergreen"  # the ignored folder of a clone: what is kept there is only ever saved work
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".xz": "xz"}
BLOCK, SMALL = 1 << 20, 1 << 14  # bytes read at once: of a file, and first of one that may be small
SETTLED_NS = 2_000_000_000  # a file changed less than this ago may change again within the same tick of its clock


@dataclass(frozen=True)
class File:
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
    while todo:
        inside = todo.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                if entry.name[0] == ".":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{inside}{entry.name}/")
                elif ending(entry.name) in endings and entry.is_file():
                    found.append(inside + entry.name)
    return sorted(found)


def opened(path: Path) -> BinaryIO:
    """The file's content, to be read from its beginning; OSError, EOFError or ValueError where it is damaged."""
    kind = COMPRESSED.get(path.suffix.lower())
    if kind == "gzip":  # Arrow's own reads a file that was cut off as if it ended there
        return gzip.open(path)  # type: ignore[return-value]
    if kind == "xz":
        return lzma.open(path)  # type: ignore[return-value]
    return pa.CompressedInputStream(pa.OSFile(str(path)), kind) if kind else path.open("rb")


def stamped(folder: Path, names: Sequence[str], root: Path) -> list[File]:
    """The files with hashes of their contents.

    A file is read again only if its size, its inode or a time of it differ from when it was read last: times are
    compared with what was noted of them, never with the clock, so one that jumps does no harm.
    """
    memory = (
        root / HOME / "stamps" / f"{hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()}.arrow"
    )
    known = _remembered(memory)
    base = f"{folder}/"
    signs = [_sign(os.stat(base + name)) for name in names]
    new = [i for i, name in enumerate(names) if known.get(name, ("",))[0] != signs[i]]
    fresh = {i: content_hash(base + names[i]) for i in new}
    stamps = [fresh.get(i) or known[name][1] for i, name in enumerate(names)]
    if new or len(known) != len(names):
        _remember(memory, names, signs, stamps)
    sizes = [int(sign.partition(" ")[0]) for sign in signs]
    return [File(*parts) for parts in zip(names, sizes, stamps, strict=True)]


def content(path: str | Path) -> bytes:
    """All of a file. Of many small ones, file objects would cost more than the reading."""
    return b"".join(_blocks(path))


def content_hash(path: str | Path) -> str:
    """About a second a gigabyte."""
    total = hashlib.blake2b(digest_size=16)
    for block in _blocks(path):
        total.update(block)
    return total.hexdigest()


def _blocks(path: str | Path) -> Iterator[bytes]:
    file, size = os.open(path, os.O_RDONLY), SMALL
    try:
        while block := os.read(file, size):
            yield block
            size = BLOCK
    finally:
        os.close(file)


def combined(files: Iterable[File]) -> str:
    """One stamp for many files: it changes with any name and any content."""
    total = hashlib.blake2b(digest_size=16)
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


def _sign(stat: os.stat_result) -> str:
    return f"{stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _remembered(memory: Path) -> dict[str, tuple[str, str]]:
    """File → (sign, stamp), as noted last; nothing where that cannot be read."""
    try:
        table = feather.read_table(memory)
        name, sign, stamp = (table[column].to_pylist() for column in ("name", "sign", "stamp"))
        return dict(zip(name, zip(sign, stamp, strict=True), strict=True))
    except (OSError, pa.ArrowInvalid, KeyError):
        return {}


def _remember(memory: Path, names: Sequence[str], signs: Sequence[str], stamps: Sequence[str]) -> None:
    """Notes what was read, but not of files that may still be changing."""
    now = time.time_ns()
    old = [max(map(int, sign.split()[2:])) + SETTLED_NS < now for sign in signs]
    rows = [row for row, settled in zip(zip(names, signs, stamps, strict=True), old, strict=True) if settled]
    if not rows:
        return
    columns = dict(zip(("name", "sign", "stamp"), zip(*rows, strict=True), strict=True))
    temporary = memory.with_suffix(f".{os.getpid()}.tmp")
    try:
        (memory.parent.parent).mkdir(mode=0o700, exist_ok=True)
        memory.parent.mkdir(exist_ok=True)
        feather.write_feather(pa.table({name: list(values) for name, values in columns.items()}), temporary)
        temporary.replace(memory)
    except OSError:  # no place to keep notes: all is read again next time
        temporary.unlink(missing_ok=True)
