"""Send what is made bit by bit as server-sent events (HTML Standard, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Receive

CONTENT_TYPE = "text/event-stream"


def is_wanted(accept: str) -> bool:
    """Tell whether a header Accept asks for events."""
    return CONTENT_TYPE in (one.partition(";")[0].strip().lower() for one in accept.split(","))


class EventStream(StreamingResponse):
    """Send events; that the client has left is for those to notice who make them, not for this to wait for."""

    async def listen_for_disconnect(self, receive: Receive) -> None:  # noqa: ARG002
        """Wait for nothing."""
        await asyncio.Event().wait()


async def send_events(values: AsyncGenerator[Any, None]) -> Response:
    """Return values as events, JSON each and texts as they are; raises what the first one raises before it answers."""
    first = await anext(values)

    async def events() -> AsyncIterator[str]:
        async with contextlib.aclosing(values):
            yield _format(first)
            async for value in values:
                yield _format(value)

    return EventStream(events(), media_type=CONTENT_TYPE, headers={"Cache-Control": "no-cache"})


def _format(value: Any) -> str:
    return f"data: {value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}\n\n"
