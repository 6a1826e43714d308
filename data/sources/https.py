"""A file on the web: `https://host/folder/file.csv.gz`. Whether it changed is asked of the server, not of its bytes.

A login stands in the address as variables: `https://${USER}:${PASSWORD}@host/file.csv`, or `?token=${TOKEN}`.
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from evergreen.core.errors import DataError
from evergreen.data.sources._files import BLOCK, File
from evergreen.data.sources._remote import TIMEOUT, RemoteSource, RemoteStore

PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that may be others a minute later


class HttpsSource(RemoteSource):
    def disk(self) -> RemoteStore:
        return HttpStore(self.address, self.uri, private_redirects=self.private_redirects)


class HttpStore:
    """Read one file over HTTP; messages call its address `place`."""

    def __init__(self, address: str, place: str, *, private_redirects: bool = False) -> None:
        parts = urlsplit(address)
        login, _, host = parts.netloc.rpartition("@")
        self.address, self.place = urlunsplit(parts._replace(netloc=host)), place
        self.login = b64encode(unquote(login if ":" in login else f"{login}:").encode()).decode() if login else ""
        self.name = PurePosixPath(unquote(parts.path)).name
        self.private_redirects = private_redirects

    def files(self) -> list[File]:
        with self._ask("HEAD") as answer:
            headers = answer.headers
        stamp = headers.get("ETag") or headers.get("Last-Modified") or ""
        return [File(self.name, int(headers.get("Content-Length") or -1), stamp)]

    def stream(self, file: File, start: int) -> Iterator[bytes]:
        """Yield bytes from `start` on. Raises ConnectionError where the server sends another part."""
        headers = {"Range": f"bytes={start}-", "If-Range": file.stamp} if start else {}
        with self._ask("GET", headers) as answer:
            skip = start if start and answer.status != HTTPStatus.PARTIAL_CONTENT else 0  # it cannot resume
            now = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            if file.stamp and now != file.stamp:
                raise DataError("the file changed while it was fetched", place=self.place, fix="run again")
            while block := answer.read(BLOCK):
                yield block[skip:]
                skip = max(0, skip - len(block))

    @contextmanager
    def _ask(self, method: str, headers: dict[str, str] | None = None) -> Iterator[Any]:
        """Send a request and give its response; what breaks while it is read is an OSError, too."""
        from http.client import HTTPException, InvalidURL
        from urllib.error import HTTPError
        from urllib.request import Request

        from evergreen.data.sources._redirects import Route

        wanted = {"Accept-Encoding": "identity", "User-Agent": "evergreen", **(headers or {})}
        request = Request(self.address, headers=wanted, method=method)
        if self.login:
            request.add_unredirected_header("Authorization", f"Basic {self.login}")
        try:
            with Route(self.place, private=self.private_redirects).opener().open(request, timeout=TIMEOUT) as answer:
                yield answer
        except InvalidURL as error:
            raise DataError("it is not a web address", place=self.place, fix="check the address") from error
        except HTTPException as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        except HTTPError as error:
            if error.code in PASSING:
                raise ConnectionError(f"HTTP {error.code} {error.reason}") from error
            words = {401: "access is denied", 403: "access is denied", 404: "there is no such file", 410: "it is gone"}
            redirects = "it redirects in a circle, or not to a web address" if error.code < 400 else ""
            problem = words.get(error.code) or redirects or f"the server answers {error.code} {error.reason}"
            raise DataError(problem, place=self.place, fix="check the address") from error
