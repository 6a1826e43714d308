"""Google Cloud Storage: `gs://bucket/folder/`; credentials as Google's own tools find them."""

from evergreen.data.sources._remote import ArrowStore, RemoteSource, RemoteStore


class GsSource(RemoteSource):
    def disk(self) -> RemoteStore:
        from pyarrow.fs import FileSystem

        return ArrowStore(*FileSystem.from_uri(self.address))
