"""Answer links while `evergreen watch` runs: a page with a button for GET, which does nothing; only POST acts.

`/retrain` is also for programs: POST with the project's own key, `Authorization: Bearer …` from
`.evergreen/endpoint.key`, and `?pipeline=NAME`.
"""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from evergreen.core.errors import PipelineError, UserError
from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.flows.deciding import decide, find_waiting
from evergreen.flows.links import Link, address_file, check_link
from evergreen.flows.retraining import BY_LINK
from evergreen.flows.server import bind_free_port
from evergreen.pages.link_page import HEADERS, draw_answer, draw_question
from evergreen.stages.deploy import api_keys
from evergreen.stages.engines import versions
from evergreen.stages.metrics import read_metrics
from evergreen.stages.pipeline import read

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HOST, EVERYWHERE = "127.0.0.1", "0.0.0.0"
CLOSE_SECONDS = 5.0  # for what is being decided when `evergreen watch` ends; it goes on by itself
FIRST_PORT = 4400
MAX_BODY_BYTES = 8192  # of a form
Begin = Callable[[str, str], None]  # begins a run of a pipeline, for a reason


def build_app(root: Path, begin: Begin) -> Starlette:
    """Build the application; `begin` begins a run of a pipeline that is watched."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    async def answer(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return HTMLResponse(draw_answer("too long", "write less"), 413, HEADERS)
        form = {key: values[0] for key, values in parse_qs(body.decode(errors="replace")).items()}
        status, page = await run_in_threadpool(_answer, root, request, form, begin)
        return HTMLResponse(page, status, HEADERS)

    return Starlette(routes=[Route("/{action}", answer, methods=["GET", "POST"])])


def _answer(root: Path, request: Request, form: dict[str, str], begin: Begin) -> tuple[int, str]:
    """Return the status and page of an answer."""
    action, is_post = request.path_params["action"], request.method == "POST"
    try:
        if action == "retrain" and is_post and _has_key(root, request.headers.get("authorization", "")):
            link = Link("retrain", request.query_params.get("pipeline", ""), "", 0)
        else:
            link = check_link(root, action, dict(request.query_params))
    except UserError as error:
        return 403, draw_answer("This does nothing", str(error))
    try:
        pipeline, paths = read(link.pipeline, root), Paths(root, link.pipeline)
        text = _describe(link, paths)
        if link.action != "retrain" and (not link.matter or find_waiting(pipeline, paths) != link.matter):
            return 409, draw_answer("This is settled", f"the candidate of {paths.name} is not asked about any more")
        if not is_post:
            return 200, draw_question(link.action, paths.name, text)
        if link.action == "retrain":
            begin(paths.name, BY_LINK)
            return 200, draw_answer("A run begins", f"{paths.name}: {BY_LINK}")
        if link.action == "reject" and not form.get("reason", "").split():
            return 422, draw_answer("The reason is missing", "go back, and say why")
        is_done, words = decide(paths, link.action, f"{form.get('who', '')} (by link)", form.get("reason", ""))
        return 200 if is_done else 409, draw_answer("Done" if is_done else "This was not done", words)
    except (UserError, OSError) as error:
        return 409, draw_answer("This was not done", str(error))


def _has_key(root: Path, header: str) -> bool:
    scheme, _, key = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), api_keys.owner_key(root).encode())


def _describe(link: Link, paths: Paths) -> str:
    """Say what a link is about."""
    released = versions.released(paths.root).get(paths.name) or "nothing"
    if link.action == "retrain":
        return f"A run of {paths.name} collects, and trains where there are new rows. In service: {released}."
    return f"In service: {released}. {read_metrics(paths)['why']} The report: {paths.report / 'report.html'}"


def open_listener(root: Path, host: str) -> socket.socket:
    """Listen at an address, where it did before if that port is free, and note where. Raises PipelineError."""
    file = address_file(root)
    try:
        before = [int(read_json(file, "port")["port"])] if file.is_file() else []
    except (PipelineError, ValueError, TypeError):
        before = []
    listener = bind_free_port(FIRST_PORT, before, host)
    port = listener.getsockname()[1]
    write_json(file, {"format": 1, "port": port, "url": f"http://{HOST if host == EVERYWHERE else host}:{port}"})
    return listener


def serve_links(root: Path, listener: socket.socket, begin: Begin, over: threading.Event) -> None:
    """Answer links on an open socket until `over`."""
    import uvicorn

    config = uvicorn.Config(build_app(root, begin), log_level="warning", access_log=False, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=partial(server.run, sockets=[listener]), daemon=True)
    thread.start()
    over.wait()
    server.should_exit = True
    thread.join(CLOSE_SECONDS)
