"""Ask an endpoint from Python: `Client`, and `AsyncClient` where many requests are under way at once."""

from __future__ import annotations

import asyncio
import io
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from functools import wraps
from typing import Any, ClassVar, ParamSpec, Self
from urllib.parse import quote

import httpx

from evergreen.api import is_rows, to_table
from evergreen.core.errors import OutageError, UserError

ARROW, NDJSON, EVENTS = "application/vnd.apache.arrow.stream", "application/x-ndjson", "text/event-stream"
AGAIN = {429, 502, 503, 504}  # too much waits, or who would answer is being replaced
FIRST_WAIT_S, MAX_WAIT_S = 0.2, 30.0
CUT_OFF = "the text was cut off; ask again"
Step = tuple[float, dict[str, Any], bool]  # seconds to wait, what to send then, whether it is answered bit by bit
Steps = Generator[Step, httpx.Response | httpx.TransportError, Any]
_End = dict[str, Any] | None
Parameters = ParamSpec("Parameters")


class EndpointError(UserError):
    """An endpoint refused a request: `status` is HTTP's, `request_id` that of the answer."""

    def __init__(self, problem: str, status: int, request_id: str) -> None:
        super().__init__(problem)
        self.status, self.request_id = status, request_id


def _request(steps: Callable[Parameters, Steps]) -> Callable[Parameters, Any]:
    """Make of a method that yields what is to be sent one that sends it, and returns what comes back.

    Of an `AsyncClient` it returns that to `await`.
    """

    @wraps(steps)
    def send(*args: Parameters.args, **options: Parameters.kwargs) -> Any:
        client: Any = args[0]
        return client._run(steps(*args, **options))

    return send


class _Requests:
    """Make the requests of both clients and read what comes back, without a connection.

    A request that found no place (429), or nobody who answers (502 to 504, a broken connection), is asked again:
    `retries` times, after what Retry-After says, or after waits that double.

    Args:
        url: address of the endpoint.
        key: an API key, if the endpoint wants one.
        timeout_s: seconds without a byte after which a request counts as unanswered.
        retries: how often a request is asked again.
    """

    _CONNECTION: ClassVar[Any]

    def __init__(self, url: str, *, key: str = "", timeout_s: float = 60, retries: int = 4) -> None:
        self.url, self.retries = url, retries
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = self._CONNECTION(base_url=url, headers=headers, timeout=timeout_s)

    @_request
    def predict(self, name: str, frame: Any, *, version: str = "", coverage: float = 0) -> Steps:
        """Predict each row of a frame, as `Model.predict` does: a list of dicts for such a list, else an Arrow table.

        Lists travel as lines of JSON, other frames as Arrow; both may have any number of rows. With a `coverage`
        answers are as wide as holds for that share of rows.

        Raises:
            EndpointError: the endpoint refused the rows, the key, the pipeline or the version, and says why.
            OutageError: nobody answered.
            DataError: the frame is none.
        """
        path = _path(name, version) + (f"?coverage={coverage}" if coverage else "")
        if is_rows(frame):
            lines = "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in frame)
            response = yield from self._send(path, content=lines.encode(), headers={"Content-Type": NDJSON})
            return [json.loads(line) for line in response.content.splitlines()]
        import pyarrow as pa

        table, body = to_table(frame), io.BytesIO()
        with pa.ipc.new_stream(body, table.schema) as writer:
            writer.write_table(table)
        response = yield from self._send(path, content=body.getvalue(), headers={"Content-Type": ARROW})
        return pa.ipc.open_stream(response.content).read_all()

    @_request
    def add_labels(self, name: str, labels: Sequence[Mapping[str, Any]]) -> Steps:
        """Send what was true of rows that were asked; return how many were stored, unknown and double."""
        response = yield from self._send(f"/{quote(name, safe='')}/labels", json={"labels": list(labels)})
        return response.json()

    @_request
    def describe(self, name: str) -> Steps:
        """Return the version in service, its scores, and the fields of a row."""
        response = yield from self._send(f"/{quote(name, safe='')}", method="GET")
        return response.json()

    def _open(self, name: str, row: Mapping[str, Any], version: str, options: Mapping[str, Any]) -> Steps:
        """Ask for the text of one row while it is written."""
        path = f"{_path(name, version)}?{httpx.QueryParams(options)}".rstrip("?")
        return self._send(path, is_stream=True, json=dict(row), headers={"Accept": EVENTS})

    def _send(self, path: str, *, method: str = "POST", is_stream: bool = False, **content: Any) -> Steps:
        """Send until it is answered. Raises EndpointError where it is refused, OutageError where nobody answers."""
        wait_s, request = 0.0, {"method": method, "url": path, **content}
        for attempt in range(self.retries + 1):
            answer = yield wait_s, request, is_stream
            if isinstance(answer, httpx.Response) and answer.status_code not in AGAIN:
                break
            wait_s = min(FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1.5), MAX_WAIT_S)  # not all at one moment
            if isinstance(answer, httpx.Response) and answer.headers.get("Retry-After", "").isdecimal():
                wait_s = min(float(answer.headers["Retry-After"]), MAX_WAIT_S)
        if isinstance(answer, httpx.TransportError):
            problem = f"no answer after {self.retries + 1} tries: {answer or type(answer).__name__}"
            raise OutageError(problem, place=self.url) from answer
        if answer.is_error:
            try:
                told = answer.json()
            except ValueError:  # a proxy's page
                told = {"error": f"HTTP {answer.status_code} {answer.reason_phrase}"}
            raise EndpointError(told.get("error", ""), answer.status_code, told.get("request_id", ""))
        return answer


class Client(_Requests):
    """Ask an endpoint, one request after another: `Client("http://127.0.0.1:8000").predict("churn", frame)`.

    Use it in a `with` block, or close it.
    """

    _CONNECTION = httpx.Client

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(
        self, name: str, row: Mapping[str, Any], *, version: str = "", end: _End = None, **options: Any
    ) -> Iterator[str]:
        """Yield the text that a pipeline writes for a row, in pieces, while it is written.

        `options` are max_tokens, temperature, top_p, stop (a text, or several) and seed. Leaving the loop ends the
        writing. A dict `end` gets what the last event says: `finish_reason` ("stop", "length"), `tokens`, `version`.

        Raises:
            EndpointError: the endpoint refused the row or an option, and says why.
            OutageError: nobody answered, or the text was cut off.
        """
        with closing(self._run(self._open(name, row, version, options))) as response, _whole_text(self.url, end) as read:
            for line in response.iter_lines():
                yield from read(line)

    def _run(self, steps: Steps) -> Any:
        wait_s, request, is_stream = next(steps)
        while True:
            time.sleep(wait_s)
            try:
                response = self._http.send(self._http.build_request(**request), stream=is_stream)
                if response.is_error:
                    response.read()
                answer: httpx.Response | httpx.TransportError = response
            except httpx.TransportError as error:
                answer = error
            try:
                wait_s, request, is_stream = steps.send(answer)
            except StopIteration as done:
                return done.value


class AsyncClient(_Requests):
    """Ask an endpoint, many requests at once: as `Client`, with `await` and `async with`."""

    _CONNECTION = httpx.AsyncClient

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def stream(
        self, name: str, row: Mapping[str, Any], *, version: str = "", end: _End = None, **options: Any
    ) -> AsyncIterator[str]:
        """Yield the text that a pipeline writes for a row, as `Client.stream` does, with `async for`."""
        async with aclosing(await self._run(self._open(name, row, version, options))) as response:
            with _whole_text(self.url, end) as read:
                async for line in response.aiter_lines():
                    for piece in read(line):
                        yield piece

    async def _run(self, steps: Steps) -> Any:
        wait_s, request, is_stream = next(steps)
        while True:
            await asyncio.sleep(wait_s)
            try:
                response = await self._http.send(self._http.build_request(**request), stream=is_stream)
                if response.is_error:
                    await response.aread()
                answer: httpx.Response | httpx.TransportError = response
            except httpx.TransportError as error:
                answer = error
            try:
                wait_s, request, is_stream = steps.send(answer)
            except StopIteration as done:
                return done.value


def _path(name: str, version: str) -> str:
    return "/".join(["", *(quote(part, safe="") for part in (name, version) if part), "predict"])


@contextmanager
def _whole_text(url: str, end: _End) -> Iterator[Callable[[str], list[str]]]:
    """Yield what reads the piece in a line of server-sent events. Raises OutageError where the text was cut off."""
    last: dict[str, Any] = {}

    def read(line: str) -> list[str]:
        nonlocal last
        last = json.loads(line.removeprefix("data: ")) if line else last
        return [last["text"]] if line and "text" in last else []

    try:
        yield read
    except httpx.TransportError as error:
        raise OutageError(CUT_OFF, place=url) from error
    if "text" in last or not last:  # at last comes the whole
        raise OutageError(CUT_OFF, place=url)
    ({} if end is None else end).update(last)
