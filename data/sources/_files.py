"""List the files of a source, hash them if they changed, and open them decompressed."""

from __future__ import annotations

import gzip
import lzma
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.sources._contents import FileCache
from evergreen.data.sources._scan import SIGN, hash_descriptor, stat_signature

HOME = ".evergreen"  # the ignored folder of a clone: what is kept there is only ever saved work
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".xz": "xz"}
BLOCK = 1 << 20  # bytes read at once
SIGNS = ("size", "inode", "mtime", "ctime")  # by which a file is seen to be as it was: `scan.sign_of`
LATEST = (1 << 63) - 1  # a clock may be wrong by any amount
SETTLED_NS = 2_000_000_000  # a file changed less than this ago may change again within the same tick of its clock


class File(NamedTuple):
    """Name a file of a source, with its bytes and a hash of its content."""

    name: str
    size: int
    stamp: str


def extension(name: str) -> str:
    """Return the ending that says what a file holds, in lower case: ".csv" of "a.csv" and of "a.CSV.gz"."""
    stem, last = os.path.splitext(name.lower())
    return os.path.splitext(stem)[1] if last in COMPRESSED else last


def walk(folder: Path, endings: Sequence[str]) -> list[str]:
    """Return the files below a folder with these endings, sorted; hidden ones are skipped.

    Raises DataError where a name cannot be written down.
    """
    files, todo = [], [""]
    plain = tuple(endings)  # most names need no more than this to be seen
    while todo:
        inside = todo.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    continue
                if name.endswith(plain) and entry.is_file():
                    files.append(inside + name)
                elif entry.is_dir(follow_symlinks=False):
                    todo.append(f"{inside}{name}/")
                elif extension(name) in endings and entry.is_file():
                    files.append(inside + name)
    check_utf8_names(files, folder)
    return sorted(files)


def check_utf8_names(names: Sequence[str], folder: Path | str = "") -> None:
    """Raise DataError where a name is not UTF-8, which neither YAML nor Arrow can hold."""
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        odd = next(name for name in names if os.fsencode(name).decode(errors="replace") != name)
        place = os.fsencode(f"{folder}/{odd}" if folder else odd).decode(errors="replace")
        raise DataError("the name is not UTF-8", place=place, fix="rename it") from None


def open_decompressed(path: Path) -> BinaryIO:
    """Open a file for reading its decompressed content.

    Reading raises OSError, EOFError or ValueError where the file is damaged.
    """
    kind = COMPRESSED.get(path.suffix.lower())
    if kind == "gzip":  # Arrow's own reads a file that was cut off as if it ended there
        return gzip.open(path)  # type: ignore[return-value]
    if kind == "xz":
        return lzma.open(path)  # type: ignore[return-value]
    return pa.CompressedInputStream(pa.OSFile(str(path)), kind) if kind else path.open("rb")


def list_with_hashes(folder: Path, names: Sequence[str], root: Path, contents: FileCache | None = None) -> list[File]:
    """Return the files with hashes of their contents.

    A file is read again only if its size, inode or a time of it differ from the last reading. Times are compared
    with those noted then, never with the clock, so a clock that jumps does no harm.
    """
    memory = root / HOME / "stamps" / f"{blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()}.arrow"
    known, contents = _remembered(memory), contents or FileCache(0)
    paths = [f"{folder}/{name}" for name in names]
    if known.places:
        signs, stamps, read = _compared(known, names, paths, contents)
    else:
        (signs, stamps), read = contents.scan(paths), len(paths)
    if read or len(known.places) != len(names):
        _remember(memory, names, signs, stamps)
    return list(map(File, names, signs[:, 0].tolist(), stamps))


def _compared(
    known: HashIndex, names: Sequence[str], paths: Sequence[str], contents: FileCache
) -> tuple[np.ndarray, list[str], int]:
    """Return ((files, SIGN) stat signatures, content hashes, the number of files that were read)."""
    at = np.array([known.places.get(name, -1) for name in names], np.int64)
    same = at >= 0
    now = [stat_signature(os.stat(paths[place])) for place in np.flatnonzero(same).tolist()]
    same[same] = (known.signs[at[same]] == np.array(now, np.int64).reshape(-1, SIGN)).all(axis=1)
    unseen = [path for path, seen in zip(paths, same.tolist(), strict=True) if not seen]
    signs = np.empty((len(names), SIGN), np.int64)
    signs[same] = known.signs[at[same]]
    signs[~same], read = contents.scan(unseen)
    fresh = iter(read)
    pairs = zip(at.tolist(), same.tolist(), strict=True)
    stamps = [known.stamps[place] if seen else next(fresh) for place, seen in pairs]
    return signs, stamps, len(unseen)


def hash_content(path: str | Path) -> str:
    """Return the hash of a file's content; takes about a second a gigabyte."""
    with open(path, "rb", buffering=0) as file:
        return hash_descriptor(file.fileno())


def combined_hash(files: Iterable[File]) -> str:
    """Return one hash for many files: it changes with any name and any content."""
    listing = "".join([f"{name}\0{stamp}\0" for name, _, stamp in files])
    return blake2b(listing.encode(), digest_size=16).hexdigest()


def batch_files(files: Sequence[File], size: int, count: int) -> Iterator[list[File]]:
    """Yield files in order, in groups of at most `size` bytes and `count` files; a larger file is its own group."""
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


class HashIndex(NamedTuple):
    """Hold what was noted of files at the last reading: name → place, (files, SIGN) numbers, and hashes."""

    places: dict[str, int]
    signs: np.ndarray
    stamps: list[str]


def _remembered(memory: Path) -> HashIndex:
    """Load the index; an empty one where it cannot be read."""
    from pyarrow import feather

    try:
        table = feather.read_table(memory)
        names, stamps = (table[column].to_pylist() for column in ("name", "stamp"))
        signs = np.stack([np.from_dlpack(table[column].combine_chunks()) for column in SIGNS], axis=1)  # no pandas
        return HashIndex({name: place for place, name in enumerate(names)}, signs, stamps)
    except (OSError, pa.ArrowException, KeyError):
        return HashIndex({}, np.empty((0, SIGN), np.int64), [])


def _remember(memory: Path, names: Sequence[str], signs: np.ndarray, stamps: Sequence[str]) -> None:
    """Save the index, without files that may still be changing."""
    from pyarrow import feather

    columns = [pa.array(names), pa.array(stamps), *map(pa.array, signs.T.copy())]
    table = pa.table(columns, names=["name", "stamp", *SIGNS])
    is_settled = (signs[:, 2:] < min(time.time_ns() - SETTLED_NS, LATEST)).all(axis=1)  # mtime and ctime
    table = table if is_settled.all() else table.filter(pa.array(is_settled))
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


def hash_files(paths: list[Path]) -> str:
    """Hash of the names and contents of files (about a second a gigabyte)."""
    total = blake2b(digest_size=16)
    for path in paths:
        total.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()
