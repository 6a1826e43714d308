"""Read rows from wherever they lie.

One file is one source and its name registers it: `sklearn:digits` is read by `data/sources/sklearn.py`, `people.csv`
by `data/sources/csv.py`, a folder of Parquet files by `data/sources/parquet.py`. Each holds one class that follows the
contract `Source`. ALIASES lists further schemes and endings that these files read.

A folder is read by the source whose FOLDER_OF, file endings or names at the top of its file, most of its files have. An
ending may be followed by that of a compression: `people.csv.gz`.

A source yields Arrow record batches with a text column `_origin` ("people.csv#17") and, where rows may be
unreadable, a text column `_fault` saying why (null for whole rows).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa

from evergreen.core import parts
from evergreen.core.addresses import check_no_secret, fill
from evergreen.core.errors import DataError, suggest
from evergreen.data.sources._encoding import ENCODING_FIX, detect_encoding
from evergreen.data.sources._files import File, combined_hash, extension, list_with_hashes, open_decompressed, walk
from evergreen.data.sources._folders import detect_folder_source
from evergreen.data.sources._rows import RESERVED, cast_to_schema, check_column_names, origins, with_origin
from evergreen.data.sources._secrets import guard, hide_secrets

__all__ = [
    "RESERVED",
    "FileSource",
    "Source",
    "cast_to_schema",
    "check_column_names",
    "detect_folder_source",
    "open_source",
    "origins",
    "with_origin",
]
ROWS = 50_000  # rows a batch
LOOKED_AT = 1000  # files of a folder, to see what it holds
ALIASES: dict[str, str] = parts.ALIASES["sources"]  # scheme or ending → the source that reads it


class Source:
    """Read rows from one place. Opening a source reads nothing."""

    scheme: str = ""  # as the URI writes it, where it names one
    uri: str = ""  # the whole of it, with ${NAME} where `name` holds what the environment says
    private_redirects: bool = False  # whether a web server may redirect to an address of this network
    only: Sequence[str] | None = None  # the files that it is limited to, if it is
    encoding: str = ""  # of text that is not UTF-8, as the pipeline says; "": it is found out
    VERSION: ClassVar[int] = 1  # raised when the same data gives other rows than before, so that it is read again
    REQUIRES: ClassVar[dict[str, str]] = {}  # a module that it cannot be read without, and the extra that installs it
    READS_TEXT: ClassVar[bool] = False  # whether `encoding` says something about it

    def __init__(self, name: str, root: Path) -> None:
        """Remember `name`, what follows the scheme or the path relative to `root`."""
        self.name, self.root = name, root

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep the secrets of addresses out of what the source returns and raises."""
        super().__init_subclass__(**options)
        for name in {"read", "fingerprint", "files", "reader_version"} & vars(cls).keys():
            setattr(cls, name, guard(name, vars(cls)[name]))

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in bounded batches of one schema. Raises DataError with the place where reading fails."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return a text that changes when the data changed; equal on every machine that holds the same data."""
        raise NotImplementedError

    @classmethod
    def is_incremental(cls, names: Sequence[str]) -> bool:
        """Tell whether a folder of these files can be read file by file, so that new files are read alone."""
        return False

    def files(self) -> list[File] | None:
        """Return the files that can be read one by one; None where the source is one whole."""
        return None

    def with_files(self, names: Sequence[str]) -> Self:
        """Return the source limited to these files, in this order. `_origin` is a file's name, or "name#place"."""
        some = type(self)(self.name, self.root).adopt_settings(self)
        some.only = names
        return some

    def reader_version(self) -> str:
        """Return the name and version of the code that reads the rows, and the encoding that was asked for."""
        return f"{type(self).__module__.rpartition('.')[2]} {self.VERSION} {self.encoding}".rstrip()

    @cached_property
    def encodings(self) -> dict[str, str]:
        """Return encoding → a note about it, of those that were guessed while the source was read."""
        return {}

    def open_text(self, path: Path, newline: str | None = "") -> io.TextIOWrapper:
        """Open a text file decompressed. Reading raises UnicodeError where it is written otherwise."""
        encoding, guessed = detect_encoding(path, self.encoding)
        if guessed:
            self.encodings.setdefault(encoding, f"{path.name} {guessed}; if it is not: {ENCODING_FIX}")
        return io.TextIOWrapper(open_decompressed(path), encoding, newline=newline)

    def adopt_settings(self, other: Source) -> Self:
        """Return this source, read as another one is."""
        self.encoding = other.encoding
        vars(self)["encodings"] = other.encodings
        return self

    def with_range(self, column: str, since: Any, until: Any) -> Source:
        """Return the source limited, if it can, to rows whose `column` is in [since, until); None is open.

        More rows may come than were asked for.
        """
        return self


class FileSource(Source):
    """Read a file, or all files of ENDINGS in a folder and below it; all have the same columns."""

    ENDINGS: ClassVar[tuple[str, ...]]

    def rows(self, path: Path, name: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file in bounded batches; `name` is what their origins call it."""
        raise NotImplementedError

    @classmethod
    def is_incremental(cls, names: Sequence[str]) -> bool:
        """Tell that files are read one by one."""
        return True

    def files(self) -> list[File] | None:
        """Return the files with their hashes."""
        return self._files

    @cached_property
    def _files(self) -> list[File]:
        return list_with_hashes(self.folder, self.names(), self.root)

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all files, cast to the schema of the first."""
        schema: pa.Schema | None = None
        for name in self.names():
            for batch in self.rows(self.folder / name, name):
                schema = schema or batch.schema
                yield batch if batch.schema == schema else cast_to_schema(batch, schema, str(self.folder / name))

    def fingerprint(self) -> str:
        """Return one hash of all files as they are now."""
        vars(self).pop("_files", None)  # as it is now, not as it was when it was listed
        return combined_hash(self._files)

    @property
    def folder(self) -> Path:
        """Return the folder of the files."""
        path = self.root / self.name
        return path if path.is_dir() else path.parent

    def names(self) -> Sequence[str]:
        """Return the files to read, relative to the folder."""
        path = self.root / self.name
        if self.only is not None:
            return self.only
        if not path.exists():
            raise DataError("there is no such file or folder", place=str(path), fix="check the path")
        names = walk(path, self.ENDINGS) if path.is_dir() else [path.name]
        if not names:
            wanted = " or ".join(self.ENDINGS)
            raise DataError(f"it holds no file that ends in {wanted}", place=str(path), fix="check the path")
        return names


def names() -> list[str]:
    """Return all schemes and file endings: the sources here, their ALIASES, and those of the project."""
    return sorted([*ALIASES, *parts.names("sources")])


def open_source(uri: str, root: Path, *, private_redirects: bool = False, encoding: str = "") -> Source:
    """Open the source that a URI names, `${NAME}` in it filled in from the environment.

    Raises DataError with the nearest right word, for an address that holds a secret, and for the `encoding` of a
    source that reads no text.
    """
    is_path = ":" not in uri and (root / uri).exists()  # a file may be called anything
    if not is_path:
        check_no_secret(uri)
    filled = uri if is_path else fill(uri)
    with hide_secrets(uri):
        opened = _open(filled, root)
    opened.uri, opened.private_redirects, opened.encoding = uri, private_redirects, encoding
    if encoding and not opened.READS_TEXT:
        raise DataError("its source has no encoding", place="collect.encoding", fix="leave `encoding` out")
    return opened


def _open(uri: str, root: Path) -> Source:
    scheme, colon, rest = uri.partition(":")
    if colon and len(scheme) > 1:  # a single letter is a Windows drive
        opened = find(scheme, uri)(rest, root)
        opened.scheme = scheme
        return opened
    path = root / uri
    if not path.exists():
        fix = "check the path; it is relative to the repository's root"
        raise DataError("there is no such file or folder", place=str(path), fix=fix)
    if not path.is_dir():
        return find(extension(uri).removeprefix("."), uri)(uri, root)
    inside = (file for file in path.rglob("*") if file.is_file() and file.name[0] != ".")
    return find(detect_folder_source((file.name for file in islice(inside, LOOKED_AT)), str(path)), uri)(uri, root)


def find(kind: str, place: str) -> type[Source]:
    """Return the class of the source of a scheme or a file ending. Raises DataError where its extra is lacking, too."""
    kind = ALIASES.get(kind, kind)
    is_file = ":" not in place
    if not parts.is_known("sources", kind):
        fix = suggest(kind, names()) + ("; or save it as CSV" if is_file else "")
        raise DataError(f"there is no source for '{kind or 'a file without an ending'}'", place=place, fix=fix)
    source = parts.find("sources", kind, Source)
    for module, extra in source.REQUIRES.items():
        if find_spec(module) is None:
            fix = f"pip install 'evergreen[{extra}]'" + (", or save it as CSV" if is_file else "")
            raise DataError(f"{module} is not installed", place=place, fix=fix)
    return source
