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
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from evergreen.core.errors import DataError
from evergreen.stages.deploy.formats import Answers, formats
from evergreen.stages.deploy.request_body import RAISE, RequestError, while_connected

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.api_keys import Caller
    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.formats import Format
    from evergreen.stages.deploy.loaded_version import LoadedVersion
    from evergreen.stages.deploy.protocols import Call

BATCH_ROWS = 1024
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
    limits, has_left = served.limits, threading.Event()
    about = {"version": served.version, "request_id": call.request_id}
    target = call.exits.enter_context(tempfile.TemporaryFile(dir=endpoint.home))  # noqa: SIM115
    max_line = limits["max_body_bytes"] if reading.IS_TEXT else 0
    try:
        async with endpoint.spools.spool(call.request, limits, endpoint.home, max_line) as source:
            batches = _answer_batches(call.caller, served, reading, source, target, has_left)
            job = endpoint.bulk.submit(writing.write, target, batches, about)
            try:
                await while_connected(asyncio.wrap_future(job), call.request)
            finally:
                has_left.set()
                while not (job.cancel() or job.done()):  # the files stay until the thread has let go of them
                    await asyncio.sleep(0.02)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RequestError(507, "there is no room on the disk of the endpoint", fix="send fewer rows") from error
    size = target.tell()
    endpoint.spools.held_bytes += size
    call.exits.callback(lambda: setattr(endpoint.spools, "held_bytes", endpoint.spools.held_bytes - size))
    served.log_unusual(name)
    headers = {VERSION_HEADER: served.version, "content-length": str(size)}
    return StreamingResponse(_pieces(target), media_type=types[1], headers=headers)


def _answer_batches(
    caller: Caller,
    served: LoadedVersion,
    reading: Format,
    source: IO[bytes],
    target: IO[bytes],
    has_left: threading.Event,
) -> Iterator[Answers]:
    """Yield the answers of each batch of a file."""
    limits, n_rows = served.limits, 0
    batch_rows = max(1, min(BATCH_ROWS, limits["max_decoded_bytes"] // max(1, served.row_bytes)))
    for rows in reading.read(Path(f"/dev/fd/{source.fileno()}"), batch_rows, limits):
        if has_left.is_set():
            raise InterruptedError
        caller.spend("rows_per_minute", len(rows))
        _check_size(n_rows + len(rows), target.tell(), limits)
        if rows.table is None:
            table = served.read_rows(rows.objects, n_rows)
        else:
            table = served.read_table(rows.table, rows.faults, n_rows)
        yield served.predict(table)
        n_rows += len(rows)
    if not n_rows:
        raise DataError("there are no rows", place="the body", fix="send one row or more")


def _check_size(n_rows: int, answer_bytes: int, limits: Mapping[str, int]) -> None:
    if n_rows > limits["max_stream_rows"]:
        fix = f"send at most {limits['max_stream_rows']:,} at a time, {RAISE.format('max_stream_rows')}"
        raise RequestError(422, "there are too many rows", fix=fix)
    if answer_bytes > limits["max_stream_bytes"]:
        fix = f"send fewer rows in each request, {RAISE.format('max_stream_bytes')}"
        raise RequestError(413, f"the answer has more than {limits['max_stream_bytes']:,} bytes", fix=fix)


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        yield piece
