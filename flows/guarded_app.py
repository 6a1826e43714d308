"""Guard Prefect's application: `python -m evergreen.flows.guarded_app ROOT DESCRIPTOR` serves it on an open socket.

Prefect asks for the key by itself, but after much else, at any address, and for all but its pages. The guard stands
before all of it, and serves the pipelines' reports, which Prefect's pages link to: browsers open no file:// link there.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.flows.server import USER, Server

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REPORTS = "/reports/"
LOCKED = ("/api", REPORTS, "/docs", "/redoc", "/openapi.json")  # the rest is Prefect's page, the same for everybody
UNLOCKED = ("/api/health", "/api/ready")  # they say that it is up
REPORT = re.compile(r"(models/store/[^/.][^/]*/report|data/store/[^/.][^/]*/described)(/[^/.][^/]*)+")
REPORT_HEADERS = {  # a script that data smuggled into a report would read the key that the browser keeps
    "Content-Security-Policy": "default-src 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
CLOSE_SECONDS = 3  # for open connections at the end


class Guard:
    """An ASGI application that passes on to Prefect's what has the right Host, Origin and key."""

    def __init__(self, app: ASGIApp, root: Path, key: str, port: int) -> None:
        """Guard `app` with `key`, "user:password", on loopback at `port`, and serve the reports of the project."""
        self.app = app
        self.root = root
        self.credentials = b"Basic " + base64.b64encode(key.encode())
        self.host, self.alias = f"127.0.0.1:{port}", f"localhost:{port}"
        # Prefect's page loads a recorder of what its visitor does from another server
        self.policy = f"connect-src 'self' ws://{self.host}; frame-ancestors 'none'".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, answer it with a report, or pass it on."""
        answer = None if scope["type"] == "lifespan" else self._refuse(scope) or self._find_report(scope)

        async def send_page(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", self.policy)]
            await send(message)

        await (answer(scope, receive, send) if answer else self.app(scope, receive, send_page))

    def _refuse(self, scope: Scope) -> Response | None:
        from starlette.datastructures import URL, Headers
        from starlette.responses import PlainTextResponse, RedirectResponse

        headers, path = Headers(scope=scope), scope["path"]
        host, origin = headers.get("host"), headers.get("origin")
        if host not in (self.host, self.alias):  # a name of somebody else that leads here: DNS rebinding
            return PlainTextResponse(f"this is {self.host}, not {host!r}\n", 400)
        # what other pages embed has no Origin; browsers say where it comes from and for what
        embedded = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if origin != f"http://{host}" if origin else embedded and headers.get("sec-fetch-dest") != "document":
            return PlainTextResponse("pages of other origins may not ask this server\n", 403)
        if not path.startswith(LOCKED):  # the page asks the API at one name, so it is opened at that
            return RedirectResponse(URL(scope=scope).replace(netloc=self.host)) if host == self.alias else None
        if path in UNLOCKED or scope["type"] == "websocket":  # which shows the key in its first message
            return None
        if hmac.compare_digest(headers.get("authorization", "").encode(), self.credentials):
            return None
        # Prefect's page asks for the key by itself; for the rest the browser does, if it is told to
        asks = {} if path.startswith("/api") else {"WWW-Authenticate": f'Basic realm="{USER}"'}
        text = f"the user is {USER}, the password stands after it in .evergreen/prefect.key of the project\n"
        return PlainTextResponse(text, 401, asks)

    def _find_report(self, scope: Scope) -> Response | None:
        from starlette.responses import FileResponse, PlainTextResponse

        if not scope["path"].startswith(REPORTS):
            return None
        path = scope["path"].removeprefix(REPORTS)
        if scope.get("method") in ("GET", "HEAD") and REPORT.fullmatch(path) and (self.root / path).is_file():
            return FileResponse(self.root / path, headers=REPORT_HEADERS)
        return PlainTextResponse("there is no such report\n", 404)


def serve(root: Path, descriptor: int) -> None:
    """Serve Prefect behind its guard on an open socket until SIGTERM."""
    key = os.environ["PREFECT_SERVER_API_AUTH_STRING"] = Server(root).key  # unseen from outside this process
    import uvicorn
    from prefect.server.api.server import create_app

    listener = socket.socket(fileno=descriptor)
    app = Guard(create_app(), root, key, listener.getsockname()[1])
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=CLOSE_SECONDS)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
