"""Fetch remote files and read them as local ones: any store × any format.

A transfer that breaks is retried with growing waits, and goes on where it stopped, in another process too. Files are
removed once they were read; those still to be read stay in the project's ignored folder.
"""

import copy
import glob
import hashlib
import importlib
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, Self, TypeVar

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import sources
from evergreen.data.sources._files import BLOCK, HOME, File, batch_files, combined_hash, extension, hash_content

TRIES = 6  # in a row without a byte
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds; each wait is twice the one before, and up to half shorter or longer
TIMEOUT = 30.0  # seconds without an answer
AT_ONCE = 1 << 28  # bytes of files that lie here at the same time, or one file that is larger
DENIED = ("ACCESS_DENIED", "SIGNATURE_DOES_NOT_MATCH", "INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID")
GONE = ("NO_SUCH_BUCKET", "NO_SUCH_KEY", "RESOURCE_NOT_FOUND")
Found = TypeVar("Found")


class TemporaryError(DataError, ConnectionError):
    """Report a system that does not answer: nobody's mistake. Trying again later may help."""


class RemoteStore(Protocol):
    """List and stream the files of a remote place."""

    def files(self) -> list[File]:
        """Return all files at the address, their names relative to it; a single file has its own name."""

    def stream(self, file: File, start: int) -> Iterator[bytes]:
        """Yield the bytes of a listed file from `start` on."""


class RemoteSource(sources.Source):
    """Read what follows the scheme: a file, or a folder of files of one format."""

    READS_TEXT = True  # it may
    only: Sequence[str] | None = None

    def disk(self) -> RemoteStore:
        """Return the store that the address names."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """Return the address with its scheme, and with what the environment fills in: never shown nor stored."""
        return f"{self.scheme or type(self).__module__.rpartition('.')[2]}:{self.name}"

    def files(self) -> list[File] | None:
        files = self._listed()
        kind = self._kind(files)
        return self._matching_files(files) if kind.is_incremental([file.name for file in files]) else None

    def with_files(self, names: Sequence[str]) -> Self:
        some = copy.copy(self)
        some.only = names
        return some

    def reader_version(self) -> str:
        return self._kind(self._listed())(self.name, self.root).adopt_settings(self).reader_version()

    def fingerprint(self) -> str:
        vars(self).pop("_files", None)  # as it is now, not as it was when it was listed
        return combined_hash(self._listed())

    def read(self) -> Iterator[pa.RecordBatch]:
        files, schema = self._listed(), None
        kind = self._kind(files)
        parts = [files]
        if kind.is_incremental([file.name for file in files]):
            known = {file.name: file for file in self._matching_files(files)}
            parts = list(batch_files([known[name] for name in self.only or known], AT_ONCE, len(known)))
        for part in parts:
            self._fetch(part)
            for batch in self._local_source(kind, part, whole=part is files).read():
                schema = schema or batch.schema
                yield batch if batch.schema == schema else sources.cast_to_schema(batch, schema, self.uri)
            self._forget(part)

    @cached_property
    def _disk(self) -> RemoteStore:
        return self.disk()

    @cached_property
    def _files(self) -> list[File]:
        """Return all that lies at the address, listed once."""
        files = retry(lambda: self._disk.files(), self.uri)
        if not files:
            raise DataError("there is no such file or folder", place=self.uri, fix="check the address")
        return files

    def _listed(self) -> list[File]:
        files = self._files
        if any(not file.stamp for file in files):  # a server that says nothing of what it holds
            self._fetch(files)
            paths = {file.name: self._folder / file.name for file in files}
            files = [File(name, path.stat().st_size, hash_content(path)) for name, path in paths.items()]
        return files

    def _kind(self, files: Sequence[File]) -> type[sources.Source]:
        is_single = len(files) == 1
        kind = (
            extension(files[0].name).removeprefix(".")
            if is_single
            else sources.detect_folder_source([file.name for file in files], self.uri)
        )
        return sources.find(kind, self.uri)

    def _matching_files(self, files: Sequence[File]) -> list[File]:
        """Return the files with the format's endings: a folder may hold others."""
        endings = getattr(importlib.import_module(self._kind(files).__module__), "FOLDER_OF", ())
        return [file for file in files if extension(file.name) in endings] or list(files)

    def _local_source(self, kind: type[sources.Source], part: Sequence[File], *, whole: bool) -> sources.Source:
        if whole and len(part) == 1:
            return kind(str(self._folder / part[0].name), self.root).adopt_settings(self)
        here = kind(str(self._folder), self.root).adopt_settings(self)
        return here if whole else here.with_files([file.name for file in part])

    @property
    def _folder(self) -> Path:
        return self.root / HOME / "fetched" / hashlib.blake2b(self.uri.encode(), digest_size=8).hexdigest()

    def _fetch(self, files: Sequence[File]) -> None:
        """Fetch what is not here yet; the name of a part holds its content's hash."""
        (self.root / HOME).mkdir(mode=0o700, exist_ok=True)
        for file in files:
            target = self._folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            sign = hashlib.blake2b(f"{file.size} {file.stamp}".encode(), digest_size=8).hexdigest()
            part = target.with_name(f".{target.name}.{sign}.part")
            retry(partial(_download, self._disk, file, part), self.uri, partial(_size, part))
            target.unlink(missing_ok=True)
            target.symlink_to(part.name)

    def _forget(self, files: Sequence[File]) -> None:
        for target in (self._folder / file.name for file in files):
            for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
                part.unlink()
            target.unlink(missing_ok=True)
        if not any(path.is_file() for path in self._folder.rglob("*")):
            shutil.rmtree(self._folder, ignore_errors=True)


def _download(disk: RemoteStore, file: File, part: Path) -> None:
    """Append what is missing of a file; one without a hash or a length is fetched anew."""
    start = _size(part) if file.stamp and file.size >= 0 else 0
    if start == file.size and part.exists():
        return
    with part.open("ab" if start else "wb") as out:
        for block in disk.stream(file, start):
            out.write(block)
    if _size(part) != file.size >= 0:
        raise ConnectionError(f"{file.name} ended after {_size(part):,} of {file.size:,} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def retry(work: Callable[[], Found], place: str, progress: Callable[[], int] = lambda: 0) -> Found:
    """Return what `work` returns; errors that may pass are waited out, longer while `progress` stays the same.

    Raises DataError for permanent errors, TemporaryError when patience ends.
    """
    tries, reached = 0, progress()
    while True:
        try:
            return work()
        except OSError as error:
            raise_permanent(error, place)
            now = progress()
            tries, reached = (tries + 1 if now <= reached else 1), now
            if tries == TRIES:
                problem = f"it does not answer after {TRIES} tries ({_first_line(error)})"
                fix = "run again when it does: what was fetched stays"
                raise TemporaryError(problem, place=place, fix=fix) from error
            time.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1)) * (0.5 + random.random()))


def raise_permanent(error: Exception, place: str) -> None:
    """Raise DataError for an error that retrying does not help."""
    text = str(error)
    if isinstance(error, DataError):
        raise error
    if isinstance(error, PermissionError) or any(word in text for word in DENIED):
        fix = "set the credentials in the environment, as this system's own tools read them"
        raise DataError(f"access is denied ({_first_line(error)})", place=place, fix=fix) from error
    if isinstance(error, FileNotFoundError) or any(word in text for word in GONE):
        raise DataError("there is no such file or folder", place=place, fix="check the address") from error
    if getattr(error, "errno", None) in (28, 122):  # no space, no quota
        raise error


def _first_line(error: Exception) -> str:
    """Return the first line of an error, or its class name where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class ArrowStore:
    """Read a folder or file of a pyarrow file system."""

    def __init__(self, system: Any, path: str) -> None:
        self.system, self.path = system, path.rstrip("/")

    def files(self) -> list[File]:
        from pyarrow.fs import FileSelector, FileType

        info = self.system.get_file_info(self.path)
        if info.type == FileType.File:
            self.path = str(PurePosixPath(info.path).parent)
            return [self._file(info)]
        infos = self.system.get_file_info(FileSelector(self.path, recursive=True, allow_not_found=True))
        files = [self._file(one) for one in infos if one.type == FileType.File]
        return sorted((file for file in files if not _hidden(file.name)), key=lambda file: file.name)

    def stream(self, file: File, start: int) -> Iterator[bytes]:
        with self.system.open_input_file(f"{self.path}/{file.name}") as source:
            source.seek(start)
            while block := source.read(BLOCK):
                yield block

    def _file(self, info: Any) -> File:
        name = PurePosixPath(info.path).relative_to(self.path).as_posix()
        return File(name, info.size, f"{info.size} {info.mtime_ns}" if info.mtime_ns else "")


def _hidden(name: str) -> bool:
    return any(part[0] in "._" for part in PurePosixPath(name).parts)
