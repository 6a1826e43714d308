"""Start a version in a child process of the replica, and let it answer whole requests.

What it breaks is its own: it may raise, hang, or eat memory up to its limit, and the replica goes on. It ends when its
standard input does, so also where the replica is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.request_files import SHADOW

if TYPE_CHECKING:
    import httpx
    from starlette.responses import Response

    from evergreen.stages.deploy.protocols import Call

START_SECONDS = 60.0  # two are usual
STOP_SECONDS = 5.0  # to write the last lines of its log
MAX_STARTS = 4  # of one that dies
PAUSE_SECONDS = 1.0  # before it is started again
CALLER, ROLE, ROWS = "x-evergreen-caller", "x-evergreen-role", "x-evergreen-rows"  # headers
SENT = ("content-type", "accept", "inference-header-content-length")
ANSWERED = ("content-type", "x-model-version", "inference-header-content-length")
LOG = logging.getLogger("ray.serve")


class VersionProcessError(Exception):
    """Say why a version beside the one in production did not answer."""

    def __init__(self, problem: str, *, is_late: bool = False) -> None:
        super().__init__(problem)
        self.is_late = is_late


class VersionProcess:
    """Hold one version that answers in a process of its own."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Take what version_server.py reads, name, entry, role, home, traces, max_bytes; and max_seconds."""
        self.config, self.version = dict(config), str(config["entry"]["version"])
        self.limits = DeployConfig().model_dump() | config["entry"]["limits"]
        self.problem = "it starts"  # "" while it answers
        self.n_starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.client: httpx.AsyncClient | None = None
        self.revival: asyncio.Task[None] | None = None
        self.folder = ""

    async def start(self) -> None:
        """Start it, and wait until it answers or `problem` says why it does not."""
        import httpx

        self.n_starts, self.problem = self.n_starts + 1, "it starts"
        self.problem = await asyncio.to_thread(self.launch)
        transport = httpx.AsyncHTTPTransport(uds=f"{self.folder}/socket", limits=httpx.Limits())
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None)
        if self.problem:
            LOG.error("%s %s beside production: %s", self.config["name"], self.version, self.problem)

    def launch(self) -> str:
        """Start the process; return why it cannot answer, or ""."""
        self.close()
        self.folder = tempfile.mkdtemp(prefix="evergreen-")
        command = [sys.executable, "-m", "evergreen.stages.deploy.version_server"]
        self.process = process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin and process.stdout  # noqa: PT018
        with contextlib.suppress(OSError, ValueError, KeyError):  # it dies before it says anything
            process.stdin.write(json.dumps({**self.config, "folder": self.folder}).encode() + b"\n")
            process.stdin.flush()
            if select.select([process.stdout], [], [], START_SECONDS)[0]:
                return str(json.loads(process.stdout.readline())["problem"])
        return "its process does not start"

    async def ask(self, call: Call, body: bytes, role: str) -> Response:
        """Return its answer to a request. Raises VersionProcessError where that is none, or comes too late."""
        import httpx
        from starlette.responses import Response

        if self.problem or self.client is None:
            raise VersionProcessError(self.problem)
        scope = call.request.scope
        headers = {name: call.headers[name] for name in SENT if name in call.headers}
        url = httpx.URL(path=scope["path"], query=scope["query_string"])
        headers |= {"x-request-id": call.request_id, CALLER: call.caller.name, ROLE: role}
        headers |= {"traceparent": call.traceparent} if call.traceparent else {}
        try:
            async with asyncio.timeout(self.config["max_seconds"]):
                answer = await self.client.request(scope["method"], url, headers=headers, content=body)
        except TimeoutError:
            problem = f"no answer within {self.config['max_seconds']:g} s"
            raise VersionProcessError(problem, is_late=True) from None
        except httpx.HTTPError:
            self._revive()
            raise VersionProcessError("its process died") from None
        if answer.status_code != 200:
            raise VersionProcessError(f"status {answer.status_code}: {answer.text:.200}")
        if role != SHADOW:  # nobody asked that
            call.caller.spend("rows_per_minute", int(answer.headers.get(ROWS, 0)))
        shown = {name: answer.headers[name] for name in ANSWERED if name in answer.headers}
        return Response(answer.content, headers=shown | {"x-model-role": role})

    def _revive(self) -> None:
        """Start a process that died again, a few times, while the one in production answers."""
        if self.revival is None or self.revival.done():
            self.revival = asyncio.create_task(self._start_again())

    async def _start_again(self) -> None:
        await asyncio.sleep(PAUSE_SECONDS)
        if self.process is None or self.process.poll() is None:  # closed, or the connection alone was lost
            return
        self.problem = f"its process died (exit status {self.process.returncode})"
        LOG.error("%s %s beside production: %s", self.config["name"], self.version, self.problem)
        if self.n_starts < MAX_STARTS:
            await self.start()

    def close(self) -> None:
        """End the process once it has written its log."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()  # type: ignore[union-attr]
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_same(self, config: Mapping[str, Any]) -> bool:
        """Tell whether it is what `config` wants."""
        return self.config == dict(config)
