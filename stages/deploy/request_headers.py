"""Look at the headers of a request: whom it asks for, which page sent it, and what Ray Serve must not see.

Ray Serve calls `build_middlewares` for each of its HTTP servers, its own proxy and each replica.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from evergreen.stages.deploy.config import HOST
from evergreen.stages.deploy.request_body import RequestError

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
AUTHORITY = re.compile(rf"({HOST})(:\d{{1,5}})?", re.IGNORECASE | re.ASCII)
SERVE_OWN = re.compile(rb"x-request-(timeout-seconds|disconnect-disabled)|x-session-id|(x-)?serve[_-].*", re.IGNORECASE)


class CleanHeaders:
    """Take out headers that command Ray Serve, and those that it cannot decode: with a byte above 127."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if "headers" in scope:
            kept = [one for one in scope["headers"] if b"".join(one).isascii() and not SERVE_OWN.fullmatch(one[0])]
            scope = {**scope, "headers": kept}
        await self.app(scope, receive, send)


def build_middlewares() -> list[Any]:
    """Return the middlewares of Ray Serve's HTTP servers; Serve finds this function by its name in the environment."""
    from starlette.middleware import Middleware

    return [Middleware(CleanHeaders)]


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
