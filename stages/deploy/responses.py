"""Make the responses of the endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Receive, Send

ROWS_AT_ONCE = 64  # that are written as JSON before others have their turn


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as compact JSON in ASCII: half a surrogate pair can be in a message."""
    from starlette.responses import Response

    return Response(_dump(value), status, headers=headers, media_type="application/json")


async def answer_rows(about: Mapping[str, str], answers: Sequence[Any]) -> Response:
    """Return answers as JSON behind what is said about all; between some of them other requests have their turn."""
    from starlette.responses import Response

    pieces = []
    for first in range(0, len(answers), ROWS_AT_ONCE):
        pieces.append(_dump(answers[first : first + ROWS_AT_ONCE])[1:-1])
        await asyncio.sleep(0)
    text = f'{_dump(about)[:-1]},"predictions":[{",".join(pieces)}]}}'
    return Response(text, media_type="application/json")


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Tell a server that the application has begun, and that it has ended."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
