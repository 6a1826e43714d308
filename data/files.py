"""Files that hold rows: which there are, whether they changed, and their bytes, decompressed by their ending."""

from __future__ import annotations

import gzip
import lzma
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from data.contents import Contents, Sign
from data.scan import hash_of

HOME = ".evergreen"  # the ignored folder of a clone: what is kept there is only ever saved work
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".xz": "xz"}
BLOCK = 1 << 20  # bytes read at once
SIGNS = ("size", "inode", "mtime", "ctime")  # by which a file is seen to be as it was; times in nanoseconds
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
                if name.endswith(plain) and entry.is_file():
                    found.append(inside + name)
                elif entry.is_dir(follow_symlinks=False):
                    todo.append(f"{inside}{name}/")
                elif ending(name) in endings and entry.is_file():
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


def stamped(folder: Path, names: Sequence[str], root: Path, contents: Contents | None = None) -> list[File]:
    """The files with hashes of their contents.

    A file is read again only if its size, its inode or a time of it differ from when it was read last: times are
    compared with what was noted of them, never with the clock, so one that jumps does no harm.
    """
    memory = root / HOME / "stamps" / f"{blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()}.arrow"
    known = _remembered(memory)
    paths = [f"{folder}/{name}" for name in names]
    held = [known.get(name) for name in names]
    same = [one is not None and one[0] == _sign(os.stat(path)) for one, path in zip(held, paths, strict=True)]
    read = iter((contents or Contents(0)).scan([path for path, seen in zip(paths, same, strict=True) if not seen]))
    found = [one if seen else next(read) for one, seen in zip(held, same, strict=True)]
    signs, stamps = zip(*found, strict=True) if found else ((), ())
    if len(known) != len(names) or not all(same):
        _remember(memory, names, signs, stamps)
    return [File(name, sign[0], stamp) for name, sign, stamp in zip(names, signs, stamps, strict=True)]


def content_hash(path: str | Path) -> str:
    """About a second a gigabyte."""
    with open(path, "rb", buffering=0) as file:
        return hash_of(file.fileno())


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
