"""Dynamic batching: rows of requests that come in while a batch runs go through the network together in the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Answers = list[dict[str, Any]]


class QueueFull(Exception):
    """More rows wait than may."""


class Batcher:
    """Feeds `predict` from an event loop, at most one batch at a time, in the threads of `executor`.

    A batch holds whole requests, up to `max_rows` rows in all (a longer request is a batch of its own). An idle batcher
    starts at once, after `wait_seconds` for company; a busy one gathers without waiting.
    """

    def __init__(
        self,
        predict: Callable[[pa.Table], Answers],
        executor: Executor,
        *,
        max_rows: int,
        max_waiting: int,
        wait_seconds: float = 0.0,
    ) -> None:
        self.predict, self.executor = predict, executor
        self.max_rows, self.max_waiting, self.wait_seconds = max_rows, max_waiting, wait_seconds
        self.waiting: deque[tuple[pa.Table, asyncio.Future[Answers]]] = deque()
        self.waiting_rows = 0
        self.worker: asyncio.Task[None] | None = None

    async def __call__(self, table: pa.Table) -> Answers:
        """One answer per row of `table`. Raises QueueFull when `max_waiting` rows would be passed."""
        if self.waiting_rows + table.num_rows > self.max_waiting:
            raise QueueFull
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answers] = loop.create_future()
        self.waiting.append((table, future))
        self.waiting_rows += table.num_rows
        if self.worker is None or self.worker.done():
            self.worker = loop.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.wait_seconds)
        while self.waiting:
            batch = self._take()
            outcome = await asyncio.gather(
                loop.run_in_executor(self.executor, self._run, [table for table, _ in batch]), return_exceptions=True
            )
            self._hand_out([future for _, future in batch], outcome[0])

    def _take(self) -> list[tuple[pa.Table, asyncio.Future[Answers]]]:
        batch, rows = [self.waiting.popleft()], 0
        rows = batch[0][0].num_rows
        while self.waiting and rows + self.waiting[0][0].num_rows <= self.max_rows:
            batch.append(self.waiting.popleft())
            rows += batch[-1][0].num_rows
        self.waiting_rows -= rows
        return batch

    def _run(self, tables: list[pa.Table]) -> list[Answers]:
        import pyarrow as pa

        answers = self.predict(pa.concat_tables(tables) if len(tables) > 1 else tables[0])
        parts, start = [], 0
        for table in tables:
            parts.append(answers[start : start + table.num_rows])
            start += table.num_rows
        return parts

    @staticmethod
    def _hand_out(futures: list[asyncio.Future[Answers]], outcome: list[Answers] | BaseException) -> None:
        for number, future in enumerate(futures):
            if future.done():  # the client has gone
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome[number])
