"""Any file system that fsspec knows: `fsspec:sftp://host/folder/`, `fsspec:hdfs://…`, `fsspec:zip://…`.

What the system needs beside an address (a user, a key) stands in fsspec's own configuration, ~/.config/fsspec.
"""

from __future__ import annotations

from evergreen.data.sources._remote import ArrowStore, RemoteSource, RemoteStore


class FsspecSource(RemoteSource):
    def disk(self) -> RemoteStore:
        from fsspec.core import url_to_fs
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        system, path = url_to_fs(self.name)
        return ArrowStore(PyFileSystem(FSSpecHandler(system)), path)
