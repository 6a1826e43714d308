"""Where rows come from.

One file is one source and its name registers it: `sklearn:digits` is read by `data/sources/sklearn.py`, `people.csv`
by `data/sources/csv.py`, a folder of Parquet files by `data/sources/parquet.py`. Each holds a class `Source`, which
follows the one here.

A folder is read by the source whose FOLDER_OF, file endings at the top of its file, most of its files have.

A source yields Arrow record batches with a text column `_origin` ("people.csv#17") and, where rows may be
unreadable, a text column `_fault` saying why (null for whole rows).
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from data.columns import plain
from data.field import DataError, nearest

RESERVED = ("_origin", "_fault", "_id", "_time")
ROWS = 50_000  # rows a batch
LOOKED_AT = 1000  # files of a folder, to see what it holds


class Source:
    """The contract. Opening a source reads nothing."""

    def __init__(self, name: str, root: Path) -> None:
        """`name` is what follows the scheme, or the path as given, relative to `root`."""
        self.name, self.root = name, root

    def read(self) -> Iterator[pa.RecordBatch]:
        """All rows, in bounded batches of one schema. Raises DataError with the place where reading fails."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Changes when the data changed; the same on every machine that holds the same data."""
        raise NotImplementedError


def names() -> list[str]:
    """All schemes and file endings: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def open_source(uri: str, root: Path) -> Source:
    """The source a URI names; DataError lists what can be read, with the nearest right word."""
    scheme, colon, rest = uri.partition(":")
    if colon and len(scheme) > 1:  # a single letter is a Windows drive
        kind, name = scheme, rest
    else:
        path = root / uri
        if not path.exists():
            raise DataError(
                "there is no such file or folder",
                place=str(path),
                fix="check the path; it is relative to the repository's root",
            )
        kind, name = (_folder(path) if path.is_dir() else path.suffix.lower().removeprefix(".")), uri
    if kind not in names():
        raise DataError(f"cannot read '{kind or 'a file without an ending'}'", place=uri, fix=nearest(kind, names()))
    source: Source = importlib.import_module(f"{__name__}.{kind}").Source(name, root)
    return source


def _folder(path: Path) -> str:
    """Which source reads a folder: the one that takes most of its first files, by their endings."""
    found = (file.suffix.lower() for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    endings = Counter(islice(found, LOOKED_AT))
    takes = {name: getattr(importlib.import_module(f"{__name__}.{name}"), "FOLDER_OF", ()) for name in names()}
    counts = {name: sum(endings[ending] for ending in wanted) for name, wanted in takes.items()}
    best = max(counts, key=counts.__getitem__)
    if not counts[best]:
        shown = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in endings.most_common(5))
        known = sorted({ending for wanted in takes.values() for ending in wanted})
        fix = f"fill it with files of one of these endings: {', '.join(known)}"
        raise DataError(
            f"the folder holds nothing that can be read ({shown or 'it is empty'})", place=str(path), fix=fix
        )
    return best


def digest(paths: list[Path]) -> str:
    """Hash of the names and contents of files (about a second a gigabyte)."""
    total = hashlib.blake2b(digest_size=16)
    for path in paths:
        total.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def with_origin(table: pa.Table, name: str, first: int = 0) -> pa.Table:
    """The table, in plain types, with `_origin` "name#row", counted from `first`."""
    for column in table.column_names:
        if column in RESERVED:
            raise DataError(f"the column name '{column}' is taken", place=name, fix="rename the column")
    origin = pa.array([f"{name}#{row}" for row in range(first, first + len(table))], pa.string())
    columns = {column: plain(table.column(column)) for column in table.column_names}
    return pa.table({**columns, "_origin": origin})
