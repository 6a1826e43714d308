"""List the cells, find the process that a cell is about, and do to it what the cell says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from benchmarks.chaos.project import STAGES
from evergreen.core.files import read_json

FROZEN_SECONDS = 20.0  # between SIGSTOP and SIGCONT
WORKERS = {"select": "ray::TrialWorker", "tune": "ray::ImplicitFunc", "train": "ray::RayTrainWorker"}
COLUMNS = {  # what is done, and to whom
    "driver": "SIGKILL of the command",
    "worker": "SIGKILL of a worker",
    "raylet": "SIGKILL of the raylet",
    "GCS": "SIGKILL of the GCS",
    "SIGTERM": "SIGTERM to the command",
    "SIGINT twice": "Ctrl-C, and again after 0.3 s",
    "SIGSTOP": f"the command stands still for {FROZEN_SECONDS:.0f} s",
    "Prefect": "SIGKILL of Prefect's server",
    "HAProxy": "SIGKILL of HAProxy",
    "controller": "SIGKILL of Serve's controller",
    "replica": "SIGKILL of Serve's replica",
}
TO_THE_COMMAND = ("driver", "SIGTERM", "SIGINT twice", "SIGSTOP")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Cell:
    """One stage, and what happens in it."""

    stage: str
    event: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.event}"


def all_cells() -> list[Cell]:
    """Return the cells of those processes that exist at a stage."""
    return [Cell(stage, event) for stage in STAGES for event in COLUMNS if _exists(stage, event)]


def _exists(stage: str, event: str) -> bool:
    if event == "worker":
        return stage in WORKERS
    return event not in ("HAProxy", "controller", "replica") or stage == "deploy"


def find_target(root: Path, cell: Cell) -> psutil.Process | None:
    """Find the process that the event is about, None while there is none; for the command there is no need to look."""
    record = root / ".evergreen" / ("prefect.json" if cell.event == "Prefect" else "ray.json")
    if not record.exists():
        return None
    leader = read_json(record)["pid"]
    if cell.event == "Prefect":
        return psutil.Process(leader) if psutil.pid_exists(leader) else None
    title = {
        "raylet": "raylet",
        "GCS": "gcs_server",
        "HAProxy": "haproxy",
        "controller": "ray::ServeController",
        "replica": "ray::ServeReplica",
        "worker": WORKERS.get(cell.stage, ""),
    }[cell.event]
    return next((one for one in session(leader) if _is_titled(one, title)), None)


def _is_titled(process: psutil.Process, title: str) -> bool:
    try:
        first = process.cmdline()[:1]
        return bool(first) and (first[0].startswith(title) or Path(first[0]).name == title)
    except psutil.Error:
        return False


def session(leader: int) -> list[psutil.Process]:
    """Return the living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def strike(cell: Cell, command: int, target: psutil.Process | None) -> None:
    """Do what the cell says; `command` leads a group of its own, as at a terminal."""
    if cell.event == "SIGTERM":
        os.kill(command, signal.SIGTERM)
    elif cell.event == "SIGINT twice":
        os.killpg(command, signal.SIGINT)
        time.sleep(0.3)
        os.killpg(command, signal.SIGINT)
    elif cell.event == "SIGSTOP":
        os.kill(command, signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)
        os.kill(command, signal.SIGCONT)
    elif target is None:
        os.kill(command, signal.SIGKILL)
    else:
        target.kill()


def wait_for(look: Callable[[], Value | None], timeout_s: float) -> Value | None:
    """Call `look` until it returns something; return that, or None past the time."""
    limit = time.monotonic() + timeout_s
    while time.monotonic() < limit:
        if value := look():
            return value
        time.sleep(0.1)
    return None
