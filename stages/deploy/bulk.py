"""Answer any number of rows in one request, batch by batch, in bounded memory.

The body is received into a file, a thread answers that file into another one, and this is sent. So a slow client holds
no thread, a row that cannot be answered refuses the whole in one message, and a client that begins to read only when it
has sent all does not wait for ever.
"""

from __future__ import annotations

import asyncio
import errno
import io
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from evergreen.core.errors import DataError
from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.answer_options import AnswerOptions
from evergreen.stages.deploy.formats import BATCH_ROWS, formats
from evergreen.stages.deploy.request_body import RAISE, RequestError, while_connected
from evergreen.stages.deploy.request_log import Entry

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.formats import Format
    from evergreen.stages.deploy.loaded_version import LoadedVersion, Parsed
    from evergreen.stages.deploy.protocols import Call
    from evergreen.stages.deploy.request_log import RequestLog

READ_ROWS = 8 * BATCH_ROWS  # of plain columns, read and checked at once: that costs about as much for a few
PIECE_BYTES = 2**18  # of an answer that is sent at once
VERSION_HEADER = "x-model-version"


def choose_type(accept: str, default: str) -> str:
    """Return the first content type of a header Accept that answers can have, else the default."""
    named = (one.partition(";")[0].strip().lower() for one in accept.split(","))
    return next((one for one in named if one in formats()), default)


def write_answers(content_type: str, answers: Answers, served: LoadedVersion) -> Response:
    """Return answers that are there already in a format."""
    from starlette.responses import Response

    file = io.BytesIO()
    formats()[content_type].write(file, iter([answers]), {})
    return Response(file.getvalue(), media_type=content_type, headers={VERSION_HEADER: served.version})


async def answer_body(
    endpoint: Endpoint, call: Call, name: str, served: LoadedVersion, types: tuple[str, str]
) -> Response:
    """Answer a body of any number of rows; `types` are its content type and that of the answer.

    Raises RequestError and DataError.
    """
    from starlette.responses import StreamingResponse

    reading, writing = (formats()[one] for one in types)
    options = AnswerOptions.read(call.query, served)
    limits, about = served.limits, {"version": served.version, "request_id": call.request_id}
    target = tempfile.TemporaryFile(dir=endpoint.home)  # noqa: SIM115
    call.ends.append(target.close)
    max_line = limits["max_body_bytes"] if reading.IS_TEXT else 0
    try:
        async with endpoint.spools.spool(call, limits, endpoint.home, max_line) as source:
            work = _BulkWork(call, name, served, source, target, endpoint.log, options)
            job = endpoint.bulk.submit(writing.write, target, work.answer_batches(reading), about)
            try:
                await while_connected(asyncio.wrap_future(job), call.request)
            finally:
                work.has_left.set()
                while not (job.cancel() or job.done()):  # the files stay until the thread has let go of them
                    await asyncio.sleep(0.02)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RequestError(507, "there is no room on the disk of the endpoint", fix="send fewer rows") from error
    size = target.tell()
    endpoint.spools.held_bytes += size
    call.ends.append(lambda: setattr(endpoint.spools, "held_bytes", endpoint.spools.held_bytes - size))
    served.log_unusual(name)
    headers = {VERSION_HEADER: served.version, "content-length": str(size)}
    return StreamingResponse(_pieces(target), media_type=types[1], headers=headers)


@dataclass
class _BulkWork:
    """Hold what a thread needs to answer one file."""

    call: Call
    name: str
    served: LoadedVersion
    source: IO[bytes]
    target: IO[bytes]
    log: RequestLog | None
    options: AnswerOptions
    has_left: threading.Event = field(default_factory=threading.Event)  # whether the client has

    def answer_batches(self, reading: Format) -> Iterator[Answers]:
        """Yield the answers of each batch of the file."""
        served, n_rows = self.served, 0
        for rows in reading.read(Path(f"/dev/fd/{self.source.fileno()}"), self._count_rows(), served.limits):
            self.call.caller.spend("rows_per_minute", len(rows))
            _check_rows(n_rows + len(rows), served.limits)
            if rows.table is None:
                parsed = served.read_rows(rows.objects, n_rows)
            else:
                parsed = served.read_table(rows.table, rows.faults, n_rows)
            for first in range(0, len(rows), BATCH_ROWS):
                few = parsed.slice(first, BATCH_ROWS)
                answers = self._answer(few, n_rows + first, is_valid=rows.table is not None)
                if self.options.coverage or few.moments:
                    answers = Answers([self.options.extend(answers.objects, served, few.moments)])
                yield answers
            n_rows += len(rows)
        if not n_rows:
            raise DataError("there are no rows", place="the body", fix="send one row or more")

    def _count_rows(self) -> int:
        """Return how many rows are read and checked at once."""
        many = READ_ROWS if self.served.has_plain_columns else BATCH_ROWS
        return int(max(1, min(many, self.served.limits["max_decoded_bytes"] // max(1, self.served.row_bytes))))

    def _answer(self, rows: Parsed, first_row: int, *, is_valid: bool) -> Answers:
        served, table, start = self.served, rows.table, time.perf_counter()
        if self.has_left.is_set():
            raise InterruptedError
        _check_bytes(self.target.tell(), served.limits)
        answers = served.answer_table(table, is_valid=is_valid)
        if self.log:
            call, seconds = self.call, time.perf_counter() - start
            about = (call.request_id, call.caller.name, seconds, table.nbytes, rows.row_ids, first_row, call.role)
            self.log.put(Entry(self.name, served, table, answers, *about))
        return answers


def _check_rows(n_rows: int, limits: Mapping[str, int]) -> None:
    if n_rows > limits["max_stream_rows"]:
        fix = f"send at most {limits['max_stream_rows']:,} at a time, {RAISE.format('max_stream_rows')}"
        raise RequestError(422, "there are too many rows", fix=fix)


def _check_bytes(answer_bytes: int, limits: Mapping[str, int]) -> None:
    if answer_bytes > limits["max_stream_bytes"]:
        fix = f"send fewer rows in each request, {RAISE.format('max_stream_bytes')}"
        raise RequestError(413, f"the answer has more than {limits['max_stream_bytes']:,} bytes", fix=fix)


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        yield piece
