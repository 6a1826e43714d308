"""Read rows from the body of an HTTP request; each error says what is wrong and what to send instead."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator, Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request

JSON = "application/json"
RAISE = "or raise {} in the section deploy"


class RequestError(Exception):
    """Say why a request cannot be answered, with the HTTP status and what to send instead."""

    def __init__(self, status: int, problem: str, *, fix: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{problem}; {fix}")
        self.status, self.headers = status, dict(headers or {})


class BodyReader:
    """Read the bodies of requests so that all that are under way hold no more than `max_queue_bytes`."""

    def __init__(self) -> None:
        self.held_bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request, limits: Mapping[str, Any]) -> AsyncIterator[bytearray]:
        """Hold the whole body, unpacked. Raises RequestError as soon as it is too long, too slow, or finds no room."""
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(limits["max_body_seconds"]):
                    await self._fill(body, request, limits)
            except TimeoutError:
                problem = f"the body did not arrive within {limits['max_body_seconds']:g} s"
                raise RequestError(408, problem, fix=f"send it at once, {RAISE.format('max_body_seconds')}") from None
            yield body
        finally:
            self.held_bytes -= len(body)
            body.clear()  # a thread's queue may hold it longer than its client waits

    async def _fill(self, body: bytearray, request: Request, limits: Mapping[str, Any]) -> None:
        limit = limits["max_body_bytes"]
        problem = f"the body has more than {limit} bytes"
        too_long = RequestError(413, problem, fix=f"send fewer rows in each request, {RAISE.format('max_body_bytes')}")
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated[:20]) > limit:
            raise too_long
        unpacker = _find_unpacker(request)
        async for part in request.stream():
            if unpacker:
                part = unpacker.unpack(part, limit + 1 - len(body))
            if len(body) + len(part) > limit:
                raise too_long
            if self.held_bytes + len(part) > max(limit, limits["max_queue_bytes"]):
                problem = f"{self.held_bytes} bytes of other requests wait (max_queue_bytes)"
                raise RequestError(429, problem, fix="try again in a second", headers={"Retry-After": "1"})
            body += part
            self.held_bytes += len(part)
        if unpacker:
            unpacker.check_end()


class Unpacker:
    """Unpack a body that comes in parts in the formats of gzip and zlib; no part yields more than is asked for."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either format

    def unpack(self, part: bytes, max_bytes: int) -> bytes:
        """Return what a part holds, at most `max_bytes` of it. Raises RequestError (400) for what is damaged."""
        try:
            return self._zlib.decompress(part, max_bytes)
        except zlib.error as error:
            raise RequestError(400, f"the body is not compressed as it says ({error})", fix="send it again") from None

    def check_end(self) -> None:
        """Raise RequestError (400) where the body has ended too early or goes on behind its end."""
        if not self._zlib.eof or self._zlib.unused_data:
            raise RequestError(400, "the compressed body is cut off or goes on behind its end", fix="send it again")


def _find_unpacker(request: Request) -> Unpacker | None:
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding == "identity":
        return None
    if coding not in ("gzip", "x-gzip", "deflate"):
        fix = "use gzip or deflate, or send it uncompressed"
        raise RequestError(415, f"the body is compressed by {coding:.80}", fix=fix)
    return Unpacker()


def check_type(request: Request, accepted: Collection[str]) -> str:
    """Return the content type, one of the accepted; "" stands for none. Raises RequestError (415) for another.

    No page in a browser can send JSON to another host without a CORS preflight, which no page gets.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in accepted:
        return kind
    named = next(iter(accepted))
    problem = f"the body is not {named} (got {kind:.80})" if kind else "the body has no Content-Type"
    raise RequestError(415, problem, fix=f"send it with the header Content-Type: {' or '.join(filter(None, accepted))}")


def parse_rows(body: bytearray, limits: Mapping[str, Any]) -> list[Any]:
    """Parse the rows of a body: {"rows": [row, …]} or one row. Raises RequestError."""
    value = parse_object(body, limits, 'send {"rows": [{…}, …]} or one row, {…}')
    if "rows" not in value:
        return [value]
    if extra := [key for key in value if key != "rows"]:
        fix = "put the fields into the rows"
        raise RequestError(422, f"the body has a field '{extra[0]:.80}' beside 'rows'", fix=fix)
    rows = value["rows"]
    if not isinstance(rows, list):
        raise RequestError(422, f"rows is not a list (got {_show(rows)})", fix='send {"rows": [{…}, …]}')
    check_count(len(rows), limits)
    return rows


def check_count(n_rows: int, limits: Mapping[str, Any]) -> None:
    """Raise RequestError (422) where a request has more rows than may be."""
    if n_rows > limits["max_rows"]:
        fix = f"send at most {limits['max_rows']} at a time, {RAISE.format('max_rows')}"
        raise RequestError(422, f"rows has {n_rows} items", fix=fix)


def parse_object(body: bytes | bytearray, limits: Mapping[str, Any], fix: str) -> dict[str, Any]:
    """Parse a body that is one object of JSON with at most `max_values` values. Raises RequestError, with `fix`."""
    if (n_values := body.count(b",") + body.count(b"[") + body.count(b"{")) > limits["max_values"]:
        fewer = f"send fewer rows in each request, {RAISE.format('max_values')}"
        raise RequestError(413, f"the body holds up to {n_values:,} values, {limits['max_values']:,} may be", fix=fewer)
    value = _parse(body)
    if not isinstance(value, dict):
        raise RequestError(422, f"the body is not an object (got {_show(value)})", fix=fix)
    return value


def _parse(body: bytes | bytearray) -> Any:
    """Parse JSON. NaN and Infinity pass: the check of their field names it in its error."""
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise RequestError(400, f"the body is not JSON ({place}: {error.msg})", fix="send one JSON object") from None
    except (ValueError, RecursionError) as error:  # not UTF-8; a number of thousands of digits; endless brackets
        raise RequestError(400, f"the body is not JSON ({error!s:.80})", fix="send one JSON object in UTF-8") from None


def _show(value: Any) -> str:
    words = {dict: "an object", list: "a list", type(None): "null"}
    return words.get(type(value)) or f"{json.dumps(value):.40}"
