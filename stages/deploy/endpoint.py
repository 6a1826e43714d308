"""Answer requests in a replica, and load new versions while it serves.

A version's model, spec, limits and queue are one object, `LoadedVersion`. A request takes that object once, so one
version parses, encodes and answers it, however often versions change meanwhile.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import re
import secrets
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import suggest
from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.access_log import AccessLog, follow_access
from evergreen.stages.deploy.answer_options import AnswerOptions
from evergreen.stages.deploy.api_keys import KEYS, Doorkeeper
from evergreen.stages.deploy.batching import QueueFullError
from evergreen.stages.deploy.cluster_front import find_home
from evergreen.stages.deploy.counters import Counters, keep_published
from evergreen.stages.deploy.grpc_listener import Listener
from evergreen.stages.deploy.loaded_version import QUICK_BYTES, LoadedVersion, Parse, Parsed
from evergreen.stages.deploy.openapi import Documents
from evergreen.stages.deploy.protocols import Call, find_handler
from evergreen.stages.deploy.request_body import BodyReader, RequestError
from evergreen.stages.deploy.request_headers import check_sender, keep_deadline, set_endpoint
from evergreen.stages.deploy.request_log import Entry, RequestLog, make_home
from evergreen.stages.deploy.responses import answer_lifespan, json_response
from evergreen.stages.deploy.rollout import Rollout, update_rollouts
from evergreen.stages.deploy.text_process import update_texts
from evergreen.stages.deploy.tracing import Spans, continue_trace, end_span, follow_setting
from evergreen.stages.engines import haproxy

if TYPE_CHECKING:
    from ray.serve import Application
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

SWITCH_SECONDS = 0.0005  # how long the event loop waits for a thread that holds Python's lock; else ten times as long
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")  # what may go into headers and logs as it came


class Endpoint:
    """Serve all released pipelines in one process: Ray Serve calls `reconfigure`, requests come through `asgi`."""

    def __init__(self) -> None:
        self.served: dict[str, LoadedVersion] = {}
        self.rollouts: dict[str, Rollout] = {}
        self.documents = Documents({})
        self.failures: dict[str, str] = {}
        self.revision, self.replica = "", uuid.uuid4().hex
        self.hosts: list[str] = []
        self.door, self.counters = Doorkeeper(), Counters()
        self.listener, self.grpc_address = Listener(), ""
        self.publishing: asyncio.Task[None] | None = None
        self.spans: Spans | None = None  # where requests are traced
        self.bodies, self.spools = BodyReader(), BodyReader("max_stream_bytes", "max_stream_bytes")
        self.log: RequestLog | None = None
        self.access: AccessLog | None = None
        self.home: Path | None = None  # the folder of the project in which files of requests may lie
        self.parsing = ThreadPoolExecutor(1, "parse")  # one thread: decoding takes memory
        self.bulk, self.writing = ThreadPoolExecutor(2, "bulk"), ThreadPoolExecutor(1, "write")
        self.loading, self.n_streams = ThreadPoolExecutor(1, "load"), 0  # texts that are being written

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Serve what `config` says from now on.

        It is what serve_config.build_replica_config returns, with an address for "grpc"; what is beside the pipelines
        stands in rollout.py; with "texts_apart" texts are written in processes of their own.

        New versions are loaded and warmed up while the old ones answer; then one assignment replaces all. A pipeline
        whose new version cannot be loaded keeps its old one: an error raised here would end the replica.
        """
        import torch

        sys.setswitchinterval(SWITCH_SECONDS)
        torch.set_num_threads(1)  # a batch is too small to be worth waking other cores for
        loop, wanted = asyncio.get_running_loop(), config["pipelines"]
        kept = {name: one for name, one in self.served.items() if name in wanted}
        new = {name: entry for name, entry in wanted.items() if name not in kept or kept[name].entry != entry}
        loads = [loop.run_in_executor(self.loading, LoadedVersion, entry) for entry in new.values()]
        loaded = dict(zip(new, await asyncio.gather(*loads, return_exceptions=True), strict=True))
        before = self.served
        self.served = kept | {name: one for name, one in loaded.items() if isinstance(one, LoadedVersion)}
        update_texts(before, self.served, are_apart=config.get("texts_apart", False))
        self.documents = Documents(self.served)
        self.failures = {name: str(error) for name, error in loaded.items() if isinstance(error, BaseException)}
        self.hosts, self.grpc_address = config.get("hosts", []), config.get("grpc", "")
        self.revision = config["revision"]
        traces = config.get("traces", "")
        self.spans = await loop.run_in_executor(self.loading, follow_setting, self.spans, traces, self.replica)
        self.home = make_home(await loop.run_in_executor(self.loading, find_home, config.get("home") or ""))
        if self.home and self.log is None:
            self.log = RequestLog(self.home, self.replica)
            atexit.register(self.log.close)
        self.access = follow_access(self.access, self.home, self.replica, is_wanted=config.get("access_log", False))
        if "home" in config and not (self.door.path and self.door.path.exists()):
            path = self.home.parent / KEYS if self.home else None
            self.door = Doorkeeper(path, is_locked=config.get("needs_key", False))
        await update_rollouts(self, config.get("rollouts", {}))
        if self.home and config.get("replicas", 1) > 1 and self.publishing is None:
            self.publishing = asyncio.create_task(keep_published(self, self.home))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the ASGI application; Ray Serve calls this name. uvicorn takes a bound method for the ASGI of 2018."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self.asgi(scope, receive, send)

        haproxy.keep_replica_local()
        set_endpoint(partial(self.asgi, is_direct=True))
        return app

    async def asgi(self, scope: Scope, receive: Receive, send: Send, *, is_direct: bool = False) -> None:
        """Handle one ASGI connection, and count it.

        The answer's header X-Request-ID is Serve's to set, unless the request came past it, `is_direct`.
        """
        from starlette.requests import ClientDisconnect, Request

        if scope["type"] == "lifespan":
            return await answer_lifespan(receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1003})
        if self.listener.revision != self.revision:
            await self.listener.follow(self)
        start, status = time.perf_counter(), 500
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")  # Serve makes one up where none is sent, and answers with it
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        call = Call(Request(scope, receive), headers, request_id)
        call.traceparent = continue_trace(headers.get("traceparent", ""))
        span = self.spans.begin(call) if self.spans else None
        try:
            response = await keep_deadline(call, self.respond)
            status = response.status_code
            if is_direct:
                response.headers["x-request-id"] = request_id
            if call.traceparent:
                response.headers["traceparent"] = call.traceparent
            await response(scope, receive, send)
        except ClientDisconnect:
            status = 499
        finally:
            for end in call.ends:
                end()
            served = self.served.get(call.names.get("pipeline", ""))
            pipeline = call.names["pipeline"] if served else ""  # a stranger may think up any number of names
            version = call.version or (served.version if served else "")
            who = (pipeline, version, call.role)
            self.counters.count(who, status, seconds := time.perf_counter() - start)
            end_span(span, call, status, who)
            if self.access:
                self.access.note(call, status, who, seconds)

    async def respond(self, call: Call) -> Response:
        """Return the response to a call; errors of its sender become JSON with a status code."""
        from evergreen.core.errors import DataError

        request = call.request
        try:
            check_sender(request.headers, self.hosts)
            handler, call.names, lists = find_handler(request.scope["path"], request.method)
            call.caller = self.door.identify(call.headers, is_open="OPEN" in lists)
            call.caller.admit(call.names.get("pipeline"))
            if "SPLIT" in lists and (rollout := self.rollouts.get(call.names["pipeline"])):
                return await rollout.respond(self, call, handler)
            return await handler(self, call)
        except RequestError as error:
            return json_response({"error": str(error), "request_id": call.request_id}, error.status, error.headers)
        except DataError as error:
            return json_response({"error": str(error), "request_id": call.request_id}, 422)

    async def render(self, name: str) -> str:
        """Return a text of `Documents`, rendered beside the event loop when it is asked for the first time."""
        return await asyncio.get_running_loop().run_in_executor(self.loading, getattr, self.documents, name)

    @contextlib.asynccontextmanager
    async def read(self, call: Call, served: LoadedVersion, parse: Parse) -> AsyncIterator[tuple[Parsed, int]]:
        """Hold the rows that `parse` reads in the request's body, and the bytes of that."""
        async with self.bodies.read(call, served.limits) as body:
            if served.takes_files or len(body) > QUICK_BYTES:
                parsed = await asyncio.get_running_loop().run_in_executor(self.parsing, parse, body)
            else:
                parsed = parse(body)
            call.caller.spend("rows_per_minute", parsed.table.num_rows)
            yield parsed, len(body)

    async def predict(
        self, call: Call, name: str, served: LoadedVersion, parse: Parse, *, explained: bool = False
    ) -> list[dict[str, Any]]:
        """Return one answer for each row that `parse` reads in the request's body, `explained` by their columns."""
        start = time.perf_counter()
        options = AnswerOptions.read(call.query, served)
        async with self.read(call, served, parse) as (parsed, n_bytes):
            table = parsed.table
            try:
                answers = await served.answer_request(table, call.request)
            except QueueFullError:
                problem = f"the queue is full ({served.limits['max_queue_rows']} rows)"
                raise RequestError(429, problem, fix="try again in a second", headers={"Retry-After": "1"}) from None
        served.log_unusual(name)
        if self.log:
            about = (call.request_id, call.caller.name, time.perf_counter() - start, n_bytes, parsed.row_ids)
            self.log.put(Entry(name, served, table, Answers([answers]), *about, role=call.role))
        if explained:
            from evergreen.stages.deploy.attributions import explain_beside  # it takes torch

            answers = await explain_beside(self.bulk, answers, served, table)
        return options.extend(answers, served, parsed.moments)

    def find(self, name: str, version: str = "") -> LoadedVersion:
        """Return the loaded version of a pipeline, or this one of it. Raises RequestError (404) where there is none."""
        served = self.served.get(name)
        if served is None:
            known = sorted(self.served)
            fix = suggest(name, known, "pipelines here") if known else "release one first"
            more = f" (pipelines here: {', '.join(known)})" if fix.startswith("did") else ""
            raise RequestError(404, f"there is no pipeline '{name:.80}'", fix=fix + more)
        if version not in ("", served.version):
            raise RequestError(404, f"{name} {version:.80} is not served", fix=f"{served.version} is")
        return served

    def health(self) -> dict[str, Any]:
        """Return what /healthz shows: versions, what is beside them, failures to load, revision and replica."""
        return {
            "status": "ok" if self.served else "nothing is loaded",
            "pipelines": {name: one.version for name, one in sorted(self.served.items())},
            "rollouts": {name: one.describe() for name, one in sorted(self.rollouts.items())},
            "failures": self.failures,
            "revision": self.revision,
            "replica": self.replica,
        }


def application(_: dict[str, str]) -> Application:
    """Build the Serve application; Serve's declarative configuration names it as its `import_path`."""
    from ray import serve

    return serve.deployment(serve.ingress()(Endpoint), name="Endpoint").bind()
