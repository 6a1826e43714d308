"""Google Cloud Storage: `gs://bucket/folder/`; credentials as Google's own tools find them."""

from __future__ import annotations

from evergreen.data.sources._remote import ArrowDisk, Disk, Remote


class Source(Remote):
    def disk(self) -> Disk:
        from pyarrow.fs import FileSystem

        return ArrowDisk(*FileSystem.from_uri(self.uri))
