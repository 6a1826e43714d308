"""Keep whole files in a folder or under an address: `s3://bucket/folder`, `gs://…`, whatever a remote source reads.

A request that fails is tried again with growing waits; a file is there whole or not at all, as objects are.
"""

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evergreen.core.addresses import is_address
from evergreen.core.errors import DataError
from evergreen.core.files import atomic_write
from evergreen.data.sources import open_source
from evergreen.data.sources._files import BLOCK
from evergreen.data.sources._remote import ArrowStore, RemoteSource, retry

AT_ONCE: Final = 8  # files that travel at the same time
FOLDERLESS: Final = ("s3", "gcs", "abfs")  # systems in which a folder is no more than the beginning of names


@dataclass(frozen=True)
class StoredFile:
    """Tell of a stored file its bytes, and the seconds since 1970 at which it was written."""

    size: int
    written: float


class ObjectStore:
    """Hold files by their names relative to an address. Raises DataError where it is refused or does not answer."""

    _system: Any

    def __init__(self, address: str) -> None:
        self.address = address
        if not is_address(address):
            from pyarrow.fs import LocalFileSystem

            self._system, self._path = LocalFileSystem(), address
            return
        source = open_source(address, Path("/"))
        disk = source.disk() if isinstance(source, RemoteSource) else None
        if not isinstance(disk, ArrowStore):
            fix = "name one as s3://bucket/folder, gs://bucket/folder or fsspec:ADDRESS"
            raise DataError("nothing can be stored there", place=address, fix=fix)
        self._system, self._path = disk.system, disk.path

    def list_files(self, folder: str = "") -> dict[str, StoredFile]:
        """Return all files under a folder, by names relative to the address."""
        from pyarrow.fs import FileSelector, FileType

        where = FileSelector(f"{self._path}/{folder}".rstrip("/"), recursive=True, allow_not_found=True)
        found = retry(lambda: self._system.get_file_info(where), self.address)
        return {
            info.path.removeprefix(self._path).lstrip("/"): StoredFile(info.size, (info.mtime_ns or 0) / 1e9)
            for info in found
            if info.type == FileType.File
        }

    def has(self, name: str) -> bool:
        """Tell whether there is a file of this name."""
        from pyarrow.fs import FileType

        return bool(retry(lambda: self._system.get_file_info(self._place(name)), self.address).type == FileType.File)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        content = io.BytesIO()
        self._stream(name, content)
        return content.getvalue()

    def get(self, name: str, file: Path) -> None:
        """Write a stored file's bytes to a local one, whole or not at all."""
        with atomic_write(file) as temporary, temporary.open("wb") as target:
            self._stream(name, target)

    def put(self, name: str, file: Path) -> None:
        """Store a local file under a name."""
        retry(lambda: self._write(name, file), self.address)

    def put_bytes(self, name: str, content: bytes) -> None:
        """Store bytes under a name."""
        retry(lambda: self._write(name, content), self.address)

    def put_all(self, files: Mapping[str, Path]) -> None:
        """Store local files, {name: file}, several at a time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self.put(name, files[name]), files))

    def get_all(self, files: Mapping[str, Path]) -> None:
        """Get stored files, {name: file}, several at a time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self.get(name, files[name]), files))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.has(name):
            retry(lambda: self._delete(name), self.address)

    def remove_folder(self, name: str) -> None:
        """Remove all files under a folder, if it is there."""
        if self.list_files(name):
            retry(lambda: self._system.delete_dir(self._place(name)), self.address)

    def _delete(self, name: str) -> None:
        try:
            self._system.delete_file(self._place(name))
        except FileNotFoundError:  # another has removed it
            return

    def _stream(self, name: str, target: Any) -> None:
        def fetch() -> None:
            target.seek(0)
            target.truncate()
            with self._system.open_input_stream(self._place(name)) as source:
                while block := source.read(BLOCK):
                    target.write(block)

        retry(fetch, self.address)

    def _write(self, name: str, content: Path | bytes) -> None:
        place = self._place(name)
        if self._system.type_name not in FOLDERLESS:
            self._system.create_dir(place.rpartition("/")[0], recursive=True)
        with self._system.open_output_stream(place) as target:
            if isinstance(content, bytes):
                target.write(content)
                return
            with content.open("rb") as source:
                while block := source.read(BLOCK):
                    target.write(block)

    def _place(self, name: str) -> str:
        return f"{self._path}/{name}"
