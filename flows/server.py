"""Run the project's own Prefect server: a flow starts it, the next one finds it, `evergreen stop` ends it.

A flow without a server starts a temporary one (5 to 12 s each time) which may lose the last states at its exit.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from evergreen.core import processes
from evergreen.core.errors import PipelineError

FIRST_PORT = 4200  # Prefect's own; a taken one moves on to the next
PORTS = 100
START_SECONDS = 90.0  # a new database takes 7 s on a free two-core machine


class Server:
    """Start, find and end the server of one project; between `start` and `wait` other engines may start."""

    def __init__(self, root: Path) -> None:
        """Name the files of the server of the project at `root`."""
        self.home = root / ".evergreen" / "prefect"
        self.file = root / ".evergreen" / "prefect.json"
        self.log = root / ".evergreen" / "prefect.log"

    @property
    def url(self) -> str | None:
        """Return the address of the UI; None where the server is down."""
        facts = processes.load_live(self.file)
        return facts["url"] if facts else None

    def start(self) -> None:
        """Start the server unless it is up, and point this process's Prefect at it (before Prefect is imported)."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with processes.exclusive_lock(self.file.with_suffix(".lock"), "another command is starting Prefect"):
            if self.url is None:
                self._launch()
        os.environ.update(self._settings() | {"PREFECT_API_URL": f"{self.url}/api"})

    def _launch(self) -> None:
        """Bind the port here and hand it over open: no other project can take it while the server starts."""
        with bind_free_port(FIRST_PORT) as listener, self.log.open("ab") as log:
            url = "http://{}:{}".format(*listener.getsockname())
            # else Prefect's page asks what listens on its first port, another project's server
            own = {"PREFECT_API_URL": "", "PREFECT_SERVER_UI_API_URL": f"{url}/api"}
            app, fd = "prefect.server.api.server:create_app", str(listener.fileno())
            processes.launch(
                self.file,
                [sys.executable, "-m", "uvicorn", "--factory", app, "--fd", fd, "--log-level", "warning"],
                {"url": url},
                env=os.environ | self._settings() | own | {"PREFECT_LOGGING_LEVEL": "WARNING"},
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
                cwd=self.home,
            )

    def wait(self) -> str:
        """Return the server's address once it answers.

        Raises:
            PipelineError: it does not answer in time.
        """
        limit = time.monotonic() + START_SECONDS
        while (url := self.url) and time.monotonic() < limit:
            if _answers(f"{url}/api/health"):
                return url
            time.sleep(0.1)
        raise PipelineError("Prefect's server does not start", place=str(self.log), fix="the end of that file says why")

    def stop(self) -> bool:
        """End the server; return whether it was up."""
        return processes.terminate_tree(self.file)

    def _settings(self) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(self.home),
            "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "DO_NOT_TRACK": "1",
            # Prefect's lines go to its UI; the screen belongs to the progress line
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        }


def bind_free_port(first: int) -> socket.socket:
    """Return a socket on the first free port of this machine, from `first` on."""
    for port in range(first, first + PORTS):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(128)
        except OSError:
            listener.close()
        else:
            return listener
    raise PipelineError(f"no free port from {first} to {first + PORTS - 1}", fix="stop the program that listens there")


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def mark_abandoned_crashed(tag: str, keep: Any = None) -> int:
    """Mark flow runs with `tag` as crashed that count as running though their process died; return how many.

    The caller holds the pipeline's lock: then no other process runs it. `keep` is the id of the caller's own run.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    left = FlowRunFilter.model_validate({"tags": {"all_": [tag]}, "state": {"type": {"any_": ["RUNNING", "PENDING"]}}})
    with get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs(flow_run_filter=left) if run.id != keep]
        for run in runs:
            client.set_flow_run_state(run.id, Crashed(message="its process died"), force=True)
    return len(runs)
