"""Look at the headers of a request: whom it asks for, which page sent it, and what Ray Serve must not see.

Ray Serve calls `build_middlewares` for each of its HTTP servers, its own proxy and each replica. In a replica a request
goes from there straight to the endpoint: Serve's own way to it costs as much time of the processor as its answer.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

from evergreen.stages.deploy.config import HOST
from evergreen.stages.deploy.request_body import RequestError
from evergreen.stages.deploy.responses import json_response

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from evergreen.stages.deploy.protocols import Call

LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
AUTHORITY = re.compile(rf"({HOST})(:\d{{1,5}})?", re.IGNORECASE | re.ASCII)
TIMEOUT = "x-request-timeout"  # seconds until an answer has to begin
SERVE_PATHS = "/-/"  # health and routes of a replica
SERVE_OWN = re.compile(rb"x-request-(timeout-seconds|disconnect-disabled)|x-session-id|(x-)?serve[_-].*", re.IGNORECASE)


class CleanHeaders:
    """Take out headers that command Ray Serve, and those that it cannot decode: with a byte above 127.

    With an `endpoint` only the paths of Serve itself go to Serve. When a replica leaves, Serve closes its server, and
    uvicorn waits for the requests under way, whoever answers them.
    """

    def __init__(self, app: ASGIApp, endpoint: ASGIApp | None = None) -> None:
        self.app, self.endpoint = app, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if "headers" in scope:
            kept = [one for one in scope["headers"] if b"".join(one).isascii() and not SERVE_OWN.fullmatch(one[0])]
            scope = {**scope, "headers": kept}
        if self.endpoint is None or scope["type"] != "http" or scope["path"].startswith(SERVE_PATHS):
            return await self.app(scope, receive, send)
        try:
            await self.endpoint(scope, receive, send)
        except Exception:
            logging.getLogger("ray.serve").exception("Request failed.")
            raise


_replica: dict[str, ASGIApp] = {}  # the endpoint of this process, if it is a replica's


def set_endpoint(endpoint: ASGIApp) -> None:
    """Let the HTTP server of this replica, which is not up yet, pass its requests straight to `endpoint`."""
    _replica["endpoint"] = endpoint


def build_middlewares() -> list[Any]:
    """Return the middlewares of Ray Serve's HTTP servers; Serve finds this function by its name in the environment."""
    from starlette.middleware import Middleware

    return [Middleware(CleanHeaders, endpoint=_replica.get("endpoint"))]


async def keep_deadline(call: Call, respond: Callable[[Call], Awaitable[Response]]) -> Response:
    """Return the response to a call, or a refusal (504) once the seconds are over that its header TIMEOUT grants.

    What waits for a batch then leaves the queue, as where the client has gone.
    """
    granted = call.headers.get(TIMEOUT)
    if granted is None:
        return await respond(call)
    try:
        if not 0 < (seconds := float(granted)) < math.inf:
            raise ValueError
    except ValueError:
        problem = f"{TIMEOUT} is {granted[:40]!r}; send seconds, above 0"
        return json_response({"error": problem, "request_id": call.request_id}, 400)
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await respond(call)
    except TimeoutError:
        if not deadline.expired():
            raise
        problem = f"there was no answer within {seconds:g} s; allow more, or ask again ({TIMEOUT})"
        return json_response({"error": problem, "request_id": call.request_id}, 504)


def check_sender(headers: Headers, hosts: Collection[str]) -> None:
    """Refuse a request for another host than loopback and `hosts` (421), or of a page of another host (403).

    A page whose own name is made to point to this machine could ask and read otherwise. Raises RequestError.
    """
    fix = "name it in allowed_hosts of the section deploy"
    named = headers.getlist("host")
    if len(named) != 1 or not _is_allowed(named[0], hosts):
        raise RequestError(421, f"the endpoint is not {', '.join(named)[:80]!r}", fix=fix)
    scheme, _, page = headers.get("origin", "http://localhost").partition("://")
    if scheme not in ("http", "https") or not _is_allowed(page, hosts):
        raise RequestError(403, f"a page of {headers['origin'][:80]!r} asks", fix=fix)


def _is_allowed(host: str, hosts: Collection[str]) -> bool:
    match = AUTHORITY.fullmatch(host)
    return match is not None and (match[1].lower() in LOOPBACK or match[1].lower() in hosts)
