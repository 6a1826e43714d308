"""Read rows from the body of an HTTP request; each error says what is wrong and what to send instead."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from starlette.requests import Request

    from evergreen.stages.deploy.protocols import Call

Result = TypeVar("Result")
JSON = "application/json"
PIECE_BYTES = 2**20  # of a compressed body that is unpacked at once
LONG_BYTES = 32 * 2**10  # of a body that is parsed row by row
FIRST_ROW, NEXT_ROW, NO_MORE = (
    re.compile(one.replace(" ", r"[ \t\r\n]*")) for one in (r' \{ "rows" : \[ ', " , ", r" \] \} ")
)
RAISE = "or raise {} in the section deploy"


class RequestError(Exception):
    """Say why a request cannot be answered, with the HTTP status and what to send instead."""

    def __init__(self, status: int, problem: str, *, fix: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{problem}; {fix}")
        self.status, self.headers = status, dict(headers or {})


class BodyReader:
    """Read the bodies of requests so that all that are under way hold no more than they may.

    `limit_key` names the bytes of one in the section deploy, `total_key` those of all together; one alone always fits.
    """

    def __init__(self, limit_key: str = "max_body_bytes", total_key: str = "max_queue_bytes") -> None:
        self.limit_key, self.total_key, self.held_bytes = limit_key, total_key, 0

    @contextlib.asynccontextmanager
    async def read(self, call: Call, limits: Mapping[str, Any]) -> AsyncIterator[bytearray]:
        """Hold the whole body, unpacked. Raises RequestError as soon as it is too long, too slow, or finds no room."""
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(limits["max_body_seconds"]):
                    async for part in self._parts(call, limits):
                        body += part
            except TimeoutError:
                raise _too_late(limits) from None
            yield body
        finally:
            self.held_bytes -= len(body)
            body.clear()  # a thread's queue may hold it longer than its client waits

    @contextlib.asynccontextmanager
    async def spool(
        self, call: Call, limits: Mapping[str, Any], folder: Path | None, max_line: int
    ) -> AsyncIterator[IO[bytes]]:
        """Hold the whole body, unpacked, in a file without a name, of lines up to `max_line` bytes if that is not 0.

        Raises RequestError as soon as a part comes too late, or the whole is too long or finds no room.
        """
        seconds, n_bytes, line_bytes = limits["max_body_seconds"], 0, 0
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                try:
                    async with asyncio.timeout(seconds) as deadline:
                        async for part in self._parts(call, limits):
                            n_bytes += len(part)
                            file.write(part)
                            deadline.reschedule(asyncio.get_running_loop().time() + seconds)
                            first, last = part.find(b"\n"), part.rfind(b"\n")
                            line_bytes += first if first >= 0 else len(part)
                            if max_line and line_bytes > max_line:
                                problem = f"a line has more than {max_line:,} bytes"
                                raise RequestError(413, problem, fix="send shorter rows")
                            line_bytes = line_bytes if first < 0 else len(part) - last - 1
                except TimeoutError:
                    raise _too_late(limits) from None
                file.flush()
                yield file
            finally:
                self.held_bytes -= n_bytes

    async def _parts(self, call: Call, limits: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Yield the body, unpacked, as it comes; what was yielded counts as held."""
        limit, n_bytes = limits[self.limit_key], 0
        problem = f"the body has more than {limit} bytes"
        fix = f"send fewer rows in each request, {RAISE.format(self.limit_key)}"
        stated = call.headers.get("content-length", "")
        if stated.isdecimal() and int(stated[:20]) > limit:
            raise RequestError(413, problem, fix=fix)
        async for part in _unpack(call):
            n_bytes += len(part)
            if n_bytes > limit:
                raise RequestError(413, problem, fix=fix)
            if self.held_bytes + len(part) > max(limit, limits[self.total_key]):
                problem = f"{self.held_bytes} bytes of other requests wait ({self.total_key})"
                raise RequestError(429, problem, fix="try again in a second", headers={"Retry-After": "1"})
            self.held_bytes += len(part)
            yield part


def _too_late(limits: Mapping[str, Any]) -> RequestError:
    problem = f"the body did not arrive within {limits['max_body_seconds']:g} s"
    return RequestError(408, problem, fix=f"send it at once, {RAISE.format('max_body_seconds')}")


def _unpack(call: Call) -> AsyncIterator[bytes]:
    """Return the parts of a body without its compression. Raises RequestError (415) for an unknown one."""
    coding = call.headers.get("content-encoding", "identity").lower()
    if coding == "identity":
        return call.request.stream()
    if coding in ("gzip", "x-gzip", "deflate"):
        return _decompress(call.request.stream())
    fix = "use gzip or deflate, or send it uncompressed"
    raise RequestError(415, f"the body is compressed by {coding:.80}", fix=fix)


async def _decompress(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what gzip or zlib packed, in pieces of bounded size. Raises RequestError (400) for what is damaged."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either format
    try:
        async for part in parts:
            while part:
                yield stream.decompress(part, PIECE_BYTES)
                part = stream.unconsumed_tail
        yield stream.flush()
    except zlib.error as error:
        raise RequestError(400, f"the body is not compressed as it says ({error})", fix="send it again") from None
    if not stream.eof or stream.unused_data:
        raise RequestError(400, "the compressed body is cut off or goes on behind its end", fix="send it again")


async def while_connected(result: asyncio.Future[Result], request: Request) -> Result:
    """Wait for a result. Raises ClientDisconnect, and cancels it, where the client leaves before it is there."""
    from starlette.requests import ClientDisconnect

    leaves = asyncio.create_task(wait_until_gone(request))
    try:
        await asyncio.wait((result, leaves), return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        raise ClientDisconnect
    finally:
        result.cancel()
        leaves.cancel()


async def wait_until_gone(request: Request) -> None:
    """Return when the client of a request whose body is read has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def check_type(headers: Mapping[str, str], accepted: Collection[str]) -> str:
    """Return the content type, one of the accepted; "" stands for none. Raises RequestError (415) for another.

    No page in a browser can send JSON to another host without a CORS preflight, which no page gets.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in accepted:
        return kind
    problem = f"the body is of an unknown type (got {kind:.80})" if kind else "the body has no Content-Type"
    named = sorted(filter(None, accepted), key=lambda one: one != JSON)
    raise RequestError(415, problem, fix=f"send it with the header Content-Type: {' or '.join(named)}")


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
    if len(body) > LONG_BYTES and (rows := _parse_row_by_row(body)):
        return {"rows": rows}
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise RequestError(400, f"the body is not JSON ({place}: {error.msg})", fix="send one JSON object") from None
    except (ValueError, RecursionError) as error:  # not UTF-8; a number of thousands of digits; endless brackets
        raise RequestError(400, f"the body is not JSON ({error!s:.80})", fix="send one JSON object in UTF-8") from None


def _parse_row_by_row(body: bytes | bytearray) -> list[Any] | None:
    """Parse {"rows": [row, …]} as `json.loads` does, which holds Python's lock from its beginning to its end.

    So other requests are answered meanwhile. None stands for whatever looks otherwise, or is wrong.
    """
    rows, decode = [], json.JSONDecoder().raw_decode
    try:
        text = body.decode()
        match = FIRST_ROW.match(text)
        while match:
            row, end = decode(text, match.end())
            rows.append(row)
            match = NEXT_ROW.match(text, end)
        return rows if rows and NO_MORE.fullmatch(text, end) else None
    except (ValueError, RecursionError):
        return None


def _show(value: Any) -> str:
    words = {dict: "an object", list: "a list", type(None): "null"}
    return words.get(type(value)) or f"{json.dumps(value):.40}"
