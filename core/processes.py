"""Lock files, and find the processes that a project started by number and start time: numbers alone are reused."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json, write_json

SAME_SECONDS = 1.5  # two readings of when a process began may lie apart: the machine's own start is rounded
GRACE_SECONDS = 10.0  # between asking a process to end and ending it


def save_pid(path: Path, pid: int, **facts: Any) -> None:
    """Record a process, so that it can be told from another that gets its number later."""
    import psutil

    write_json(path, {"pid": pid, "started": start_time_s(psutil.Process(pid)), **facts})


def load_live(path: Path) -> dict[str, Any] | None:
    """Read the record of a process; None when it has ended."""
    if not path.exists():
        return None
    facts: dict[str, Any] = read_json(path)
    return facts if is_alive(facts) else None


def terminate_tree(path: Path) -> bool:
    """End the process recorded at `path` with its children; return whether there was one.

    Children that lead or joined a session of their own, engines that it started, are ended by their own records.
    """
    import psutil

    process = _live_process(read_json(path)) if path.exists() else None
    path.unlink(missing_ok=True)
    if process is None:
        return False
    children = process.children(recursive=True)
    family = [process, *(one for one in children if _session(one) == _session(process))]
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    _, left = psutil.wait_procs(family, timeout=GRACE_SECONDS)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=GRACE_SECONDS)
    return True


def _session(process: Any) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


@contextmanager
def exclusive_lock(path: Path, problem: str, *, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold `path` locked, with this process's number in it; the system lets go when the process dies.

    Raises:
        PipelineError: `problem`, where another process still holds it after `timeout_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + timeout_s
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    owner = file.read().strip() or "?"
                    fix = "wait until it has ended, or end it"
                    raise PipelineError(f"{problem} (process {owner})", fix=fix) from None
            time.sleep(0.02)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.seek(0)
        file.truncate()


def lock_owner(path: Path) -> int | None:
    """Return the number of the process that holds the lock at `path`; None where none does."""
    if not path.exists():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read().strip()
            return int(text) if text.isdigit() else 0
    return None


def is_alive(record: dict[str, Any] | None) -> bool:
    """Tell whether the recorded process runs: one with its number that started at another time is somebody else's."""
    return _live_process(record) is not None


def _live_process(record: dict[str, Any] | None) -> Any:
    import psutil

    try:
        process = psutil.Process(record["pid"]) if record else None
        if process is None or abs(start_time_s(process) - record["started"]) >= SAME_SECONDS:  # type: ignore[index]
            return None
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def start_time_s(process: Any) -> float:
    """Return when a psutil.Process began, in seconds since the machine did: no setting of the clock changes that."""
    import psutil

    return float(process.create_time() - psutil.boot_time())
