"""Any file system that fsspec knows: `fsspec:sftp://host/folder/`, `fsspec:hdfs://…`, `fsspec:zip://…`.

What the system needs beside an address (a user, a key) stands in fsspec's own configuration, ~/.config/fsspec, or in
variables: `fsspec:ftp://ada:${PASSWORD}@host/folder/`.
"""

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

from evergreen.data.sources._remote import ArrowStore, RemoteSource, RemoteStore
from evergreen.data.sources.https import HttpStore


class FsspecSource(RemoteSource):
    def disk(self) -> RemoteStore:
        if urlsplit(self.name).scheme in ("http", "https"):
            return HttpStore(self.name, self.uri, private_redirects=self.private_redirects)
        from fsspec.core import url_to_fs
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        web = dict.fromkeys(re.findall(r"::(https?)://", self.name))
        options: dict[str, Any] = {name: {"client_kwargs": {"trace_configs": [self._traces()]}} for name in web}
        system, path = url_to_fs(self.name, **options)
        return ArrowStore(PyFileSystem(FSSpecHandler(system)), path)

    def _traces(self) -> Any:
        """Return aiohttp's hook that sees each redirect before it is followed."""
        from aiohttp import TraceConfig

        from evergreen.data.sources._redirects import check_schemes, check_step, resolve, zone_of

        async def check(_session: Any, _context: Any, seen: Any) -> None:
            before = urlsplit(str(seen.url))
            after = urlsplit(urljoin(str(seen.url), seen.response.headers.get("Location", "")))
            check_schemes(before.scheme, after.scheme, self.uri)
            zones = {zone_of(address) for address in resolve(str(before.hostname))}
            zone = zones.pop() if len(zones) == 1 else "public"
            host = str(after.hostname)
            check_step(zone, host, resolve(host), self.uri, private=self.private_redirects)

        traces = TraceConfig()
        traces.on_request_redirect.append(check)
        return traces
