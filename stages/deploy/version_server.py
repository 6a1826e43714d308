"""Answer requests with one version in a process of its own, under a memory limit: `python -m` this module.

One line of JSON on the standard input says what to serve; one on the standard output says that it answers, or why not.

The limit is RLIMIT_AS, set once the libraries are there, to what the process has then and what the version may take.
A cgroup would count what is resident, but making one needs rights that a container seldom has. RLIMIT_AS needs none,
and an allocation beyond it fails at once where it is made, as an error of one request.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.stages.artifacts import MISFITS
from evergreen.stages.deploy.api_keys import Caller
from evergreen.stages.deploy.endpoint import Endpoint
from evergreen.stages.deploy.responses import json_response
from evergreen.stages.deploy.version_process import CALLER, ROLE, ROWS
from evergreen.stages.request_files import PRODUCTION, SHADOW

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from evergreen.stages.deploy.protocols import Call

NICENESS = {SHADOW: 10, PRODUCTION: 5}  # a shadow takes what time of the processor is left; texts let short work pass


class TrustingDoor:
    """Let in whom the replica let in: nobody else reaches the socket."""

    path = None

    def identify(self, headers: Mapping[str, str], **_: bool) -> Caller:
        """Return the caller whom the replica names; what it spends is counted, for the replica keeps its limit."""
        return Caller(headers[CALLER], left={"rows_per_minute": 0.0})


class VersionEndpoint(Endpoint):
    """Serve one version; its log says in which role it answered."""

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Do as a replica does, but let in whom that let in: it passes no keys on."""
        await super().reconfigure(config)
        self.door = TrustingDoor()  # type: ignore[assignment]

    async def respond(self, call: Call) -> Response:
        """Return the response to a call; what the version raises is said in one line, which production's log keeps."""
        call.role = call.headers[ROLE]
        try:
            response = await super().respond(call)
            response.headers[ROWS] = f"{-call.caller.left['rows_per_minute']:.0f}"
            return response
        except (*MISFITS, OSError, MemoryError) as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            return json_response({"error": f"{words:.300}"}, 500)


def limit_memory(max_bytes: int) -> None:
    """Let this process take so many bytes of addresses more than it has, and be the first that a full machine ends.

    0 sets no limit.
    """
    if (statm := Path("/proc/self/statm")).exists():
        Path("/proc/self/oom_score_adj").write_text("1000")
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + max_bytes
        limit = limit if max_bytes else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


async def serve(config: Mapping[str, Any], answer: Any) -> None:
    """Load the version, say whether it answers, and answer until the standard input ends."""
    import uvicorn

    endpoint, path = VersionEndpoint(), Path(config["folder"]) / "socket"
    wanted = {"revision": "", "traces": config["traces"], "pipelines": {config["name"]: config["entry"]}}
    await endpoint.reconfigure(wanted | ({"home": config["home"]} if config["home"] else {}))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(128)
        threading.Thread(target=end_with_parent, args=(endpoint, path.parent), daemon=True).start()
        problem = endpoint.failures.get(config["name"], "")
        print(json.dumps({"problem": problem}), file=answer, flush=True)
        if problem:
            return

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await endpoint.asgi(scope, receive, send)

        settings = uvicorn.Config(app, timeout_keep_alive=3600, log_level="critical", access_log=False, lifespan="off")
        await uvicorn.Server(settings).serve(sockets=[listener])


def end_with_parent(endpoint: Endpoint, folder: Path) -> None:
    """Wait until the standard input ends, write the log, send the last spans, and end the process."""
    sys.stdin.buffer.read()
    if endpoint.log:
        endpoint.log.close()
    if endpoint.spans:
        endpoint.spans.close()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Serve what the first line of the standard input says."""
    import torch  # noqa: F401  # before the limit, as all that takes addresses whatever the version is
    import uvicorn  # noqa: F401

    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    config = json.loads(sys.stdin.buffer.readline())
    os.nice(NICENESS.get(config["role"], 0))
    limit_memory(config["max_bytes"])
    asyncio.run(serve(config, answer))


if __name__ == "__main__":
    main()
