"""Clients of all kinds: each asks on and on, and what becomes of its requests is kept by kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx
import pyarrow as pa

import evergreen
from evergreen.core.errors import UserError
from tests.slow.hostile_requests import Hostile, hostile_requests, request

PAUSE_S, WAIT_S = 0.02, 60.0
AFTER_KILL_S = 15.0  # so long a request that cannot be asked again by HAProxy may feel a kill
SLOW_CLIENTS = 100  # connections that begin a request and do not end it
EVENTS = {"accept": "text/event-stream"}


class WrongAnswerError(Exception):
    """Say what is wrong about an answer."""


@dataclass
class Tally:
    """What became of the requests of one kind of client."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    n_cut: int = 0  # by the death of a replica: long bodies, and answers that had begun

    def quantile_ms(self, share: float, first: int = 0) -> float:
        """Of the requests from `first` on."""
        ordered = sorted(self.seconds[first:])
        return ordered[int(len(ordered) * share)] * 1000 if ordered else 0.0


class Load:
    """Hold load on an endpoint."""

    def __init__(self, url: str, rows: dict[str, Any], table: pa.Table) -> None:
        """Take the address, a row of each pipeline, and many rows of `table`'s."""
        self.url, self.rows, self.table = url, rows, table
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.expected: dict[tuple[str, str], Any] = {}  # pipeline, version → what it answered first
        self.last_kill = -AFTER_KILL_S
        self.tasks: list[asyncio.Task[None]] = []
        self.goes_on = True

    def start(self, *kinds: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.tasks += [asyncio.create_task(kind()) for kind in kinds]

    async def stop(self) -> None:
        """Let each client wait for its last answer."""
        self.goes_on = False
        await asyncio.gather(*self.tasks)
        self.tasks, self.goes_on = [], True

    @contextlib.asynccontextmanager
    async def asked(self, kind: str, *, is_long: bool = False) -> AsyncIterator[None]:
        """Time one request; what it raises is its failure. A long one may be cut off where a replica was killed."""
        tally, start = self.tallies[kind], time.monotonic()
        try:
            yield
            tally.seconds.append(time.monotonic() - start)
        except (httpx.HTTPError, OSError, UserError, WrongAnswerError, ValueError, TimeoutError) as error:
            if is_long and time.monotonic() - self.last_kill < AFTER_KILL_S:
                tally.n_cut += 1
            else:
                tally.failures.append(f"{type(error).__name__}: {error!s:.300}")

    def check(self, name: str, answer: httpx.Response) -> None:
        """Compare an answer with what the same version said before. Raises WrongAnswerError."""
        if answer.status_code != 200:
            raise WrongAnswerError(f"{answer.status_code} {answer.text:.200}")
        found = answer.json()
        said = [one["prediction"] for one in found["predictions"]]
        if said[:1] != self.expected.setdefault((name, found["version"]), said[:1]):
            raise WrongAnswerError(f"{name} {found['version']} says {said[:1]}")

    async def single_rows(self, name: str = "digits") -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=WAIT_S) as http:
            while self.goes_on:
                async with self.asked(f"single rows of {name}"):
                    self.check(name, await http.post(f"/{name}/predict", json=self.rows[name]))
                await asyncio.sleep(PAUSE_S)

    async def long_bodies(self) -> None:
        """Ask for the same answers again and again: their bytes are compared, for reading them would take the time."""
        body = json.dumps({"rows": [self.rows["digits"]] * 1000})
        headers = {"content-type": "application/json", "x-request-id": "long"}
        async with httpx.AsyncClient(base_url=self.url, timeout=WAIT_S, headers=headers) as http:
            while self.goes_on:
                async with self.asked("1,000 rows of JSON", is_long=True):
                    answer = await http.post("/digits/predict", content=body)
                    version = answer.content[:40].partition(b",")[0].decode()
                    if answer.status_code != 200:
                        raise WrongAnswerError(f"{answer.status_code} {answer.text:.200}")
                    if answer.content != self.expected.setdefault(("long", version), answer.content):
                        raise WrongAnswerError(f"another answer to the same rows by {version}")
                await asyncio.sleep(10 * PAUSE_S)

    async def tables(self) -> None:
        first = None
        async with evergreen.AsyncClient(self.url, timeout_s=WAIT_S) as client:
            while self.goes_on:
                async with self.asked(f"{len(self.table):,} rows of Arrow", is_long=True):
                    answers = await client.predict("rows", self.table)
                    first = first or answers["prediction"]
                    if not answers["prediction"].equals(first):
                        raise WrongAnswerError("another answer to the same rows")
                await asyncio.sleep(10 * PAUSE_S)

    async def texts(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=WAIT_S) as http:
            while self.goes_on:
                async with (
                    self.asked("streams of text", is_long=True),
                    http.stream("POST", "/song/predict", json=self.rows["song"], headers=EVENTS) as answer,
                ):
                    events = [json.loads(line[6:]) async for line in answer.aiter_lines() if line]
                    whole = "".join(one["text"] for one in events[:-1])
                    if whole != self.expected.setdefault(("song", "text"), events[-1]["prediction"]):
                        raise WrongAnswerError(f"another text: {whole:.100}")
                await asyncio.sleep(PAUSE_S)

    async def hostile(self) -> None:
        """Send what no server wants; a third of it is valid."""
        seed = 0
        while self.goes_on:
            seed += 1
            examples = {name: self.rows[name] for name in ("digits", "rows")}
            for one in hostile_requests(seed, 200, examples):
                if not self.goes_on:
                    return
                async with self.asked("valid requests among hostile ones" if one.is_valid else "hostile requests"):
                    await self._exchange(one)
                await asyncio.sleep(PAUSE_S)

    async def _exchange(self, hostile: Hostile) -> None:
        reader, writer = await asyncio.open_connection(*self._address())
        try:
            writer.write(hostile.data)
            if hostile.leaves:
                return
            try:
                line = await asyncio.wait_for(reader.readline(), WAIT_S)
            except ConnectionError:  # a server may hang up on what is no request
                line = b""
            status = int(line.split()[1]) if line.startswith(b"HTTP/") else 0
            if (hostile.is_valid and status != 200) or status >= 500:
                raise WrongAnswerError(f"{status} to {hostile.data[:200]!r}")
        finally:
            writer.transport.abort()

    async def slow(self) -> None:
        """Hold connections of which each has sent the beginning of a request."""
        whole = request(json.dumps({"rows": [self.rows["digits"]] * 20}).encode())
        held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        while self.goes_on:
            while len(held) < SLOW_CLIENTS:
                held.append(await asyncio.open_connection(*self._address()))
                held[-1][1].write(whole[: (0, 30, 200, len(whole) - 500)[len(held) % 4]])
                self.tallies["slow clients"].seconds.append(0.0)
            await asyncio.sleep(0.5)
            for one in [one for one in held if one[0].at_eof()]:
                one[1].transport.abort()
                held.remove(one)
        for _, writer in held:
            writer.transport.abort()

    def _address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)
