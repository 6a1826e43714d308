"""Hold `evergreen watch` of the story up, ask Prefect for runs, and strike processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.chaos.cells import wait_for
from benchmarks.chaos.project import ChaosProject
from evergreen.core.files import read_json
from evergreen.core.processes import load_live, lock_owner
from evergreen.flows.schedule import pid_file
from tests.slow.prefect_api import open_api

MAX_SECONDS = 900.0  # that anything is waited for, on a machine that others use too
POLL = {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}  # seconds between two looks of `watch` for a run that is due; else 10
UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")


class StoryError(Exception):
    """Report that the year does not go on."""


class Engines:
    """What runs all year, and how it is ended in bad ways."""

    def __init__(self, project: ChaosProject) -> None:
        self.project, self.root = project, project.root
        self.watching: subprocess.Popen[bytes] | None = None

    def watch(self) -> None:
        """Start `evergreen watch`, unless it is up, and wait until it takes runs."""
        if self.watching and self.watching.poll() is None:
            return
        with (self.root.parent / "watch.txt").open("ab") as log:
            variables, command = self.project.variables | POLL, self.project.command("watch")
            self.watching = subprocess.Popen(command, cwd=self.root, env=variables, stdout=log, stderr=log)
        self.wait("evergreen watch", lambda: load_live(pid_file(self.root)) and self._find("monitor/tiny"))

    def stop_watching(self) -> None:
        if self.watching and self.watching.poll() is None:
            self.watching.terminate()
            self.watching.wait(60)

    def begin(self, deployment: str, **parameters: Any) -> str:
        """Have a run begun now; return its id."""
        identity = self.wait(deployment, lambda: self._find(deployment))
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
        body = {"state": state, **({"parameters": parameters} if parameters else {})}
        made = self.wait(deployment, lambda: self._post(f"/api/deployments/{identity}/create_flow_run", body))
        return str(made["id"])

    def wait_for_run(self, identity: str) -> str:
        """Wait until a run has ended; return its state. `watch` is started again where it ended meanwhile."""

        def look() -> str:
            self.watch()
            runs = self._post("/api/flow_runs/filter", {"flow_runs": {"id": {"any_": [identity]}}}) or []
            return "".join(run["state_type"] for run in runs if run["state_type"] not in UNFINISHED)

        return str(self.wait(f"run {identity}", look))

    def list_unfinished(self) -> list[str]:
        """Name the runs that Prefect counts as running."""
        states = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}}
        return [run["name"] for run in self._post("/api/flow_runs/filter", states) or []]

    def strike(self, target: str) -> None:
        """End a process by SIGKILL: the run's driver, `watch`, or Prefect's server."""
        if target == "driver":
            pid = lock_owner(self.project.paths.run_lock)
        elif target == "watch":
            pid = self.watching.pid if self.watching else None
        else:
            pid = read_json(self.root / ".evergreen" / "prefect.json")["pid"]
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if target == "watch" and self.watching:
            self.watching.wait(60)

    def command(self, seconds_ahead: float, *arguments: str, kill_after_s: float = 0.0) -> subprocess.Popen[str]:
        """Run a command at a moment of the story, to its end or until SIGKILL; return it with what it said."""
        words = [sys.executable, "-m", "benchmarks.year.moved_clock", f"{seconds_ahead:.0f}", *arguments]
        output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(words, cwd=self.root, env=self.project.variables, **output)
        said = ""
        with suppress(subprocess.TimeoutExpired):
            said = process.communicate(timeout=kill_after_s or MAX_SECONDS)[1]
        if process.poll() is None:
            process.kill()
            process.communicate()
        elif process.returncode:
            raise StoryError(f"evergreen {' '.join(arguments)} ended with {process.returncode}: {said[-500:]}")
        return process

    def wait(self, what: str, look: Any) -> Any:
        """Wait until `look` returns something. Raises StoryError."""
        found = wait_for(look, MAX_SECONDS)
        if not found:
            said = Path(self.root.parent / "watch.txt").read_text(errors="replace")[-2000:]
            raise StoryError(f"{what}: nothing within {MAX_SECONDS:.0f} s; watch said: {said}")
        return found

    def _find(self, deployment: str) -> str:
        with suppress(httpx.HTTPError, OSError, ValueError, KeyError), open_api(self.root) as api:
            return str(api.get(f"/api/deployments/name/{deployment}").raise_for_status().json()["id"])
        return ""

    def _post(self, place: str, body: Any) -> Any:
        with suppress(httpx.HTTPError, OSError, ValueError), open_api(self.root) as api:
            return api.post(place, json=body).raise_for_status().json()
        time.sleep(1)
        return None


def memory_mb(processes: list[psutil.Process]) -> float:
    """Return the megabytes that processes hold together."""
    total = 0.0
    for one in processes:
        with suppress(psutil.Error):
            total += one.memory_info().rss / 2**20
    return total
