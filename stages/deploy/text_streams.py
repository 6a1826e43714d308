"""Write texts token by token, for clients that read along, and as each request asks: how long, how boldly, until what.

All texts share a thread and take turns, a token each: so a long one does not keep a short one waiting, and one whose
client has left costs nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.request_body import RAISE, RequestError, wait_until_gone
from evergreen.stages.deploy.request_log import Entry
from evergreen.stages.deploy.version_process import VersionProcessError

if TYPE_CHECKING:
    from evergreen.models.text_stream import Piece, Sampling
    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.loaded_version import LoadedVersion, Parsed
    from evergreen.stages.deploy.protocols import Call

OPTIONS = ("max_tokens", "temperature", "top_p", "stop", "seed")
MAX_TEMPERATURE, MAX_STOPS, MAX_STOP_CHARACTERS = 2.0, 4, 100
MAX_SEED = 2**63 - 1


def read_sampling(values: Mapping[str, Any], served: LoadedVersion) -> Sampling:
    """Read what a request says about a text; what is null or left out is the task's. Raises RequestError (400)."""
    from evergreen.models.text_stream import Sampling

    task, given = served.model.network.task, {name: values[name] for name in OPTIONS if values.get(name) is not None}
    if not served.writes_text:
        fix = f"ask for application/json, without {', '.join(OPTIONS)}"
        raise RequestError(400, f"{served.model.card['task']} writes no text", fix=fix)
    longest = int(task.target.shape[0])
    most = {"max_tokens": (1, longest), "temperature": (0, MAX_TEMPERATURE), "top_p": (0, 1), "seed": (0, MAX_SEED)}
    read: dict[str, Any] = {}
    for name, (low, high) in most.items():
        if name in given:
            read[name] = _read_number(name, given[name], low, high)
    if read.get("top_p") == 0:
        _refuse("top_p", 0, "above 0, to 1")
    stops = given.get("stop", ())
    read["stop"] = tuple([stops] if isinstance(stops, str) else stops if isinstance(stops, list | tuple) else [None])
    lengths = [len(one) if isinstance(one, str) else 0 for one in read["stop"]]
    if len(lengths) > MAX_STOPS or not all(0 < length <= MAX_STOP_CHARACTERS for length in lengths):
        _refuse("stop", stops, f"up to {MAX_STOPS} texts of 1 to {MAX_STOP_CHARACTERS} characters")
    return Sampling(**read)


def _read_number(name: str, value: Any, low: float, high: float) -> float | int:
    kind = int if name in ("max_tokens", "seed") else float
    try:
        number = kind(value) if not isinstance(value, bool) and (kind is float or float(value).is_integer()) else None
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or not low <= number <= high:
        _refuse(name, value, f"{'a whole number' if kind is int else 'a number'} of {low} to {high}")
    return number


def _refuse(name: str, value: Any, wanted: str) -> NoReturn:
    raise RequestError(400, f"{name} is {str(value)[:40]!r}", fix=f"use {wanted}")


@dataclass
class TextStream:
    """Write the answer to one row."""

    endpoint: Endpoint
    call: Call
    name: str
    served: LoadedVersion
    parsed: Parsed
    sampling: Sampling
    text: str = ""
    n_tokens: int = 0
    finish_reason: str = ""
    _start: float = field(default_factory=time.perf_counter)

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Yield the text in pieces, none empty. Raises ClientDisconnect once nobody reads, RequestError (429)."""
        from starlette.requests import ClientDisconnect

        endpoint = self.endpoint
        if endpoint.n_streams >= self.served.limits["max_streams"]:
            problem = f"{endpoint.n_streams} texts are being written"
            fix = f"try again in a second, {RAISE.format('max_streams')}"
            raise RequestError(429, problem, fix=fix, headers={"Retry-After": "1"})
        endpoint.n_streams += 1
        leaves = asyncio.create_task(wait_until_gone(self.call.request))
        try:
            async with contextlib.aclosing(self._write()) as written:
                async for piece in written:
                    if leaves.done():
                        raise ClientDisconnect
                    if not self.n_tokens:
                        self.served.first_piece.observe(time.perf_counter() - self._start)
                    self.text, self.n_tokens, self.finish_reason = (
                        self.text + piece.text,
                        piece.n_tokens,
                        piece.finish_reason,
                    )
                    if piece.text:
                        yield piece.text
        finally:
            endpoint.n_streams -= 1
            leaves.cancel()
            self._log()

    async def _write(self) -> AsyncGenerator[Piece, None]:
        """Yield the pieces as the version's own process writes them, and what it does not write as a thread does."""
        served, table, n_known = self.served, self.parsed.table, 0
        if served.texts:
            with contextlib.suppress(VersionProcessError):
                async with contextlib.aclosing(served.texts.write(table, self.sampling)) as written:
                    async for piece in written:
                        n_known += len(piece.text)
                        yield piece
                served.batch_rows.observe(table.num_rows)
                return
        loop, writing = asyncio.get_running_loop(), self.endpoint.writing
        again = await loop.run_in_executor(writing, served.write, table, self.sampling)
        reason = ""
        while not reason:
            piece = await loop.run_in_executor(writing, _write_next, again)
            yield piece._replace(text=piece.text[n_known:])
            n_known, reason = max(0, n_known - len(piece.text)), piece.finish_reason

    async def read_all(self) -> str:
        """Return the whole text."""
        async for _ in self.pieces():
            pass
        return self.text

    def _log(self) -> None:
        """Log what was written, also where the client left before its end."""
        self.served.log_unusual(self.name)
        if self.endpoint.log and self.n_tokens:
            answers, table = Answers([[{"prediction": self.text}]]), self.parsed.table
            call, seconds = self.call, time.perf_counter() - self._start
            about = (call.request_id, call.caller.name, seconds, table.nbytes, self.parsed.row_ids)
            self.endpoint.log.put(Entry(self.name, self.served, table, answers, *about, role=call.role))


def _write_next(written: Iterator[Piece]) -> Piece:
    import torch

    with torch.inference_mode():
        return next(written)
