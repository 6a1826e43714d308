"""Batch requests dynamically: rows that arrive while a batch runs form the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Answers = list[dict[str, Any]]  # one per row
Waiting = tuple["pa.Table", "asyncio.Future[Answers]"]


class QueueFullError(Exception):
    """Say that the queue has no room for the rows of a request."""


class Batcher:
    """Call `predict` from an event loop, one batch at a time.

    A batch holds whole requests, up to `max_rows` rows (a longer request is a batch of its own). An idle batcher waits
    `wait_seconds` for more rows; a busy one starts the next batch at once. With an `executor` batches run in its
    thread, without one, and where `is_quick` says so, in the event loop: a thread's hand-over costs about as much as a
    small network.
    """

    def __init__(
        self,
        predict: Callable[[pa.Table], Answers],
        *,
        max_rows: int,
        max_waiting: int,
        wait_seconds: float = 0.0,
        executor: Executor | None = None,
        is_quick: Callable[[Sequence[pa.Table]], bool] = lambda tables: False,
    ) -> None:
        self.predict, self.executor, self.is_quick = predict, executor, is_quick
        self.max_rows, self.max_waiting, self.wait_seconds = max_rows, max_waiting, wait_seconds
        self.waiting: deque[Waiting] = deque()
        self.waiting_rows = 0
        self.worker: asyncio.Task[None] | None = None

    async def __call__(self, table: pa.Table) -> Answers:
        """Return one answer per row of `table`. Raises QueueFullError, and what `predict` raises for this table."""
        if self.waiting_rows + table.num_rows > self.max_waiting:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answers] = loop.create_future()
        self.waiting.append((table, future))
        self.waiting_rows += table.num_rows
        if self.worker is None or self.worker.done():
            self.worker = loop.create_task(self._work())
        return await future

    async def _work(self) -> None:
        await asyncio.sleep(self.wait_seconds)  # 0 lets in what has arrived in the same turn of the loop
        while batch := self._take():
            tables, futures = zip(*batch, strict=True)
            for future, outcome in zip(futures, await self._outcomes(tables), strict=True):
                if future.done():  # its client has gone
                    continue
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    def _take(self) -> list[Waiting]:
        """Take the requests of the next batch from the queue, at least one if any waits whose client has not gone."""
        batch: list[Waiting] = []
        rows = 0
        while self.waiting and (not batch or rows + self.waiting[0][0].num_rows <= self.max_rows):
            table, future = self.waiting.popleft()
            self.waiting_rows -= table.num_rows
            if not future.done():
                batch.append((table, future))
                rows += table.num_rows
        return batch

    async def _outcomes(self, tables: tuple[pa.Table, ...]) -> list[Answers | BaseException]:
        """Return answers or an error per request; where a batch fails, each request runs alone."""
        (together,) = await asyncio.gather(self._run(tables), return_exceptions=True)
        if not isinstance(together, BaseException):
            return list(together)
        alone = await asyncio.gather(*(self._run((table,)) for table in tables), return_exceptions=True)
        return [one if isinstance(one, BaseException) else one[0] for one in alone]

    async def _run(self, tables: tuple[pa.Table, ...]) -> list[Answers]:
        if self.executor is None or self.is_quick(tables):
            return self._predict(tables)
        return await asyncio.get_running_loop().run_in_executor(self.executor, self._predict, tables)

    def _predict(self, tables: tuple[pa.Table, ...]) -> list[Answers]:
        import pyarrow as pa

        answers = self.predict(pa.concat_tables(tables) if len(tables) > 1 else tables[0])
        parts, start = [], 0
        for table in tables:
            parts.append(answers[start : start + table.num_rows])
            start += table.num_rows
        return parts
