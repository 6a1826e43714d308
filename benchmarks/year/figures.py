"""Measure what should be level after years: disk, memory, the time of `status`; find ghosts, and look at git."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos.cells import session
from benchmarks.chaos.project import NAME, ChaosProject
from benchmarks.year.engines import memory_mb
from evergreen.core.files import read_json
from evergreen.core.retention import measure

MB = 1e6
KINDS = {"ray::ServeReplica": "replica", "gcs_server": "GCS", "raylet": "raylet", "haproxy": "HAProxy"}
PLACES = {
    "request log": ".evergreen/requests",
    "findings": ".evergreen/monitor",
    "copies of versions": ".evergreen/released",
    "checkpoints": ".evergreen/runs",
    "records of runs": ".evergreen/history",
    "Prefect": ".evergreen/prefect",
    "DVC's cache": ".dvc/cache",
    "git": ".git",
}
STARTS_LEVEL = 4  # the measurement from which all grows no more: retention has begun to remove
MAX_GROWTH = {"disk": 1.15, "memory": 1.15, "status": 1.3}
BY_VERSION = ("DVC's cache", "git")  # what a release adds to for ever
Json = dict[str, Any]


def take_figures(project: ChaosProject, day: int, watching: int | None) -> Json:
    """Measure once; seconds are those of the processor, so what else runs matters little."""
    root = project.root
    disk = {name: measure(root / place).size / MB for name, place in PLACES.items()}
    return {
        "day": day,
        "disk": disk,
        "memory": _measure_memory(root, watching),
        "status": min(_time_status(project) for _ in range(2)),
        "versions": len(list_tags(project, rf"{NAME}@v[\d.]+")),
    }


def _time_status(project: ChaosProject) -> float:
    """Return the seconds of the processor that `evergreen status` takes."""
    process = subprocess.Popen(
        project.command("status"), cwd=project.root, env=project.variables, stdout=subprocess.DEVNULL
    )
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def _measure_memory(root: Path, watching: int | None) -> dict[str, float]:
    found: dict[str, list[psutil.Process]] = {}
    for name in ("ray", "prefect"):
        record = root / ".evergreen" / f"{name}.json"
        for process in session(read_json(record)["pid"]) if record.exists() else []:
            title = "".join(process.cmdline()[:1]) if name == "ray" else ""
            kind = next((kind for word, kind in KINDS.items() if word in title), "other of Ray" if title else "Prefect")
            found.setdefault(kind, []).append(process)
    if watching and psutil.pid_exists(watching):
        found["watch"] = [psutil.Process(watching)]
    found["who looks each day"] = [psutil.Process()]
    return {kind: memory_mb(processes) for kind, processes in sorted(found.items())}


def list_tags(project: ChaosProject, pattern: str) -> list[str]:
    return [tag for tag in project.git("tag").split() if re.fullmatch(pattern, tag)]


def find_growth(figures: list[Json]) -> dict[str, float]:
    """Return how many times as much the last measurement is as that at which all should be level."""
    if len(figures) <= STARTS_LEVEL:
        return {}
    first, last = figures[STARTS_LEVEL - 1], figures[-1]

    def total(figure: Json) -> float:
        """Megabytes that no version holds; git counts by its commits and tags."""
        return sum(size for name, size in figure["disk"].items() if name not in BY_VERSION)

    kinds = {*first["memory"]} & {*last["memory"]}
    memory = [sum(one["memory"][kind] for kind in kinds) for one in (first, last)]
    return {
        "disk": total(last) / total(first),
        "memory": memory[1] / memory[0],
        "status": last["status"] / first["status"],
    }


def age_prefect(root: Path, days: int) -> None:
    """Let what Prefect recorded be so many days older: its server knows only the clock of the machine."""
    earlier = f"'-{days} days'"
    columns = {"flow_run": "end_time", "events": "occurred"}
    with closing(sqlite3.connect(root / ".evergreen" / "prefect" / "prefect.db", timeout=60)) as database, database:
        for table, column in columns.items():
            moved = f"strftime('%Y-%m-%d %H:%M:%f', {column}, {earlier}) || '000'"
            database.execute(f"UPDATE {table} SET {column} = {moved} WHERE {column} IS NOT NULL")
