"""Run one cell: bring back a state, run, strike, run again, and look at what is left."""

from __future__ import annotations

import contextlib
import logging
import random
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos.cells import TO_THE_COMMAND, Cell, find_target, session, strike, wait_for
from benchmarks.chaos.project import NAME, RELEASING, STAGES, TAGS, ChaosProject, hash_candidate
from evergreen.core.files import read_json
from evergreen.core.processes import is_alive, lock_owner

MAX_SECONDS = 240.0  # of one run, on a machine that others use too
TRIES = 3  # to meet a stage before it is over
# longest wait after the stage began, seconds: about as long as the stage takes
SPREAD = {"collect": 0.5, "preprocess": 1, "select": 5, "tune": 6, "train": 5, "validate": 0.7, "deploy": 4}
NOISE = re.compile(r"Traceback|^\[\d{4}-\d\d-\d\d |^\*\*\* |Fatal Python|core dumped|^\S*Error: ", re.MULTILINE)


def run_cell(project: ChaosProject, cell: Cell, seed: int) -> list[str]:
    """Return what is wrong after the cell: nothing, where it passes."""
    rng = random.Random(f"{cell} {seed}")
    for attempt in range(TRIES):
        project.restore(cell.stage)
        struck, problems = _run_and_strike(project, cell, rng.uniform(0, SPREAD.get(cell.stage, 0.1)) / 2**attempt)
        if struck:
            return problems + _run_again(project, cell.stage)
    return ["it was over before it was struck"]


def _run_and_strike(project: ChaosProject, cell: Cell, delay_s: float) -> tuple[bool, list[str]]:
    """Run, strike `delay_s` after the stage began and the process is there; wait for the end of the run."""
    output = project.root.parent / "struck.txt"
    with output.open("wb") as file:
        run = subprocess.Popen(
            project.command("run", NAME),
            cwd=project.root,
            env=project.variables | {"PYTHONFAULTHANDLER": "1"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        wait_for(lambda: _has_begun(project, cell, run, output), MAX_SECONDS)
        target = None
        if cell.event not in TO_THE_COMMAND:
            target = wait_for(lambda: find_target(project.root, cell) or run.poll() is not None, MAX_SECONDS)
        time.sleep(delay_s)
        if run.poll() is not None or target is True or (target and not target.is_running()):
            return False, []
        strike(cell, run.pid, target)  # type: ignore[arg-type]
        run.wait(MAX_SECONDS)
    except subprocess.TimeoutExpired:
        return True, [f"the run did not end: {_end_of(output)}"]  # where it hangs stands in struck.txt
    finally:
        if run.poll() is None:
            run.send_signal(signal.SIGABRT)  # it says where it hangs
            run.wait()
    noise = NOISE.search(output.read_text(errors="replace"))
    return True, [f"the run said: {_end_of(output)}"] if noise else []


def _has_begun(project: ChaosProject, cell: Cell, run: subprocess.Popen[bytes], output: Path) -> bool:
    if run.poll() is not None:
        return True
    before = STAGES.index(cell.stage) - 1
    if before < 0:
        return lock_owner(project.paths.run_lock) == run.pid
    return f"✓ {STAGES[before]} " in output.read_text(errors="replace")


def _run_again(project: ChaosProject, stage: str) -> list[str]:
    """Run undisturbed and return what is wrong then."""
    try:
        done = project.evergreen("run", NAME, timeout_s=MAX_SECONDS)
    except subprocess.TimeoutExpired:
        return ["the next run did not end"]
    problems = []
    if done.returncode or NOISE.search(done.stderr):
        problems.append(f"the next run ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    if (found := hash_candidate(project.paths)) != project.reference:
        problems.append(f"other weights: {found} instead of {project.reference}")
    return problems + list_orphans(project) + _records(project, stage)


def list_orphans(project: ChaosProject) -> list[str]:
    """Name the processes of the project that neither Ray's nor Prefect's session holds."""
    allowed = {psutil.Process().pid}
    for name in ("ray", "prefect"):
        record = project.root / ".evergreen" / f"{name}.json"
        facts = read_json(record) if record.exists() else None
        if is_alive(facts):
            allowed |= {one.pid for one in session(facts["pid"])}
    orphans = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            place = f"{process.cmdline()} {process.cwd()} {process.environ().get('RAY_AUTH_TOKEN_PATH', '')}"
            if str(project.root) in place and process.pid not in allowed and process.is_running():
                orphans.append(f"a process is left: {process.pid} {' '.join(process.cmdline())[:80]}")
    return orphans


def _records(project: ChaosProject, stage: str) -> list[str]:
    """Return what Prefect's, DVC's and git's records say that they should not."""
    problems = []
    database = project.root / ".evergreen" / "prefect" / "prefect.db"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        query = "SELECT COUNT(*) FROM flow_run WHERE state_type IN ('RUNNING', 'PENDING')"
        (running,) = connection.execute(query).fetchone()
    if running:
        problems.append(f"{running} of Prefect's runs count as running")
    if stale := _dvc_status(project):
        problems.append(f"dvc status: {stale}")
    changed = [line for line in project.git("status", "--porcelain").splitlines() if not line.endswith(" dvc.lock")]
    if changed:
        problems.append(f"git status: {changed}")
    if (tags := project.git("tag").split()) != (TAGS if stage in RELEASING else []):
        problems.append(f"tags: {tags}")
    project.git("fsck", "--connectivity-only")
    if (project.root / ".git" / "index.lock").exists():
        problems.append("git's index is locked")
    return problems


def _dvc_status(project: ChaosProject) -> dict[str, Any]:
    """Return what DVC itself finds changed; `versions` always runs."""
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    with contextlib.chdir(project.root), Repo(str(project.root)) as repo:
        return {stage: changes for stage, changes in repo.status().items() if stage != f"versions@{NAME}"}


def _end_of(output: Path) -> str:
    return output.read_text(errors="replace").strip()[-600:]
