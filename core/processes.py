"""Lock files; start processes that outlive a command, and find them by number and start time: numbers are reused."""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evergreen.core.errors import BusyError, PipelineError
from evergreen.core.files import read_json, write_json

SAME_SECONDS = 1.5  # two readings of when a process began may lie apart: the machine's own start is rounded
GRACE_SECONDS = 10.0  # between asking a process to end and ending it
LOOKS_S = (0.0, 0.05, 0.2)  # pauses before each look for a process without a record
RECORD = "EVERGREEN_RECORD"  # in the environment of what is launched: the file that records it
TEXTS = ("url", "address", "dashboard", "token", "folder")  # of a record, where it has them
HELD = 'read -r _ && exec "$0" "$@" </dev/null'  # begins at a line on its input, ends where that ends without one


def launch(record: Path, command: Sequence[str], facts: dict[str, Any], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that leads a session of its own; it begins only once `record` of it lies on the disk.

    So a command that is killed at any moment leaves nothing that `end_session(record)` would not find.
    """
    waiting_command = ["/bin/sh", "-c", HELD, *command]
    options["env"] = {**(options.get("env") or os.environ), RECORD: str(record)}
    remove_record(record)
    process = subprocess.Popen(waiting_command, stdin=subprocess.PIPE, start_new_session=True, **options)
    with suppress(BrokenPipeError), process.stdin:  # type: ignore[union-attr]
        save_pid(record, process.pid, **facts)
        process.stdin.write(b"\n")  # type: ignore[union-attr]
    return process


def save_pid(path: Path, pid: int, **facts: Any) -> None:
    """Record a process, so that it can be told from another that gets its number later."""
    write_json(path, describe_process(pid) | facts)


def describe_process(pid: int) -> dict[str, Any]:
    """Return the number of a process and when it began, by which `is_alive` knows it."""
    import psutil

    return {"pid": pid, "started": start_time_s(psutil.Process(pid))}


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record of a process; None where there is none, or what lies there is no record."""
    try:
        facts = read_json(path, "pid", "started")
    except PipelineError:
        return None
    is_record = type(facts["pid"]) is int and isinstance(facts["started"], int | float)
    return facts if is_record and all(isinstance(facts.get(key, ""), str) for key in TEXTS) else None


def load_live(path: Path) -> dict[str, Any] | None:
    """Read the record of a process; None when it has ended."""
    facts = read_record(path)
    return facts if is_alive(facts) else None


def end_unrecorded(path: Path) -> bool:
    """End what was launched under a record that can no longer be read; return whether there was anything."""
    import psutil

    for pause_s in LOOKS_S:  # one that turns into its program just now shows no environment for a moment
        time.sleep(pause_s)
        if found := [one for one in psutil.process_iter() if _environment(one).get(RECORD) == str(path)]:
            break
    for one in found:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(found, timeout=GRACE_SECONDS)
    return bool(found)


def _environment(process: Any) -> dict[str, str]:
    import psutil

    try:
        return dict(process.environ())
    except (psutil.Error, OSError):
        return {}


def remove_record(path: Path) -> None:
    """Remove a record, whatever lies in its place; where nothing can be written, leave it."""
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def terminate_tree(path: Path) -> bool:
    """End the process recorded at `path` with its children; return whether there was one.

    Children that lead or joined a session of their own, engines that it started, are ended by their own records.
    """
    import psutil

    record, is_there = read_record(path), os.path.lexists(path)
    process = _live_process(record)
    remove_record(path)
    if process is None:
        return is_there and record is None and end_unrecorded(path)
    children = process.children(recursive=True)
    family = [process, *(one for one in children if _session(one) == _session(process))]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, left = psutil.wait_procs(family, timeout=GRACE_SECONDS)
    for member in left:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(left, timeout=GRACE_SECONDS)
    return True


def end_session(record: dict[str, Any]) -> None:
    """Kill all processes of the session that the recorded process leads or led, this one last; wait for their ends."""
    import psutil

    leader = record["pid"]
    with suppress(psutil.NoSuchProcess):  # a number is not reused while its session has members
        if abs(start_time_s(psutil.Process(leader)) - record["started"]) >= SAME_SECONDS:
            return
    for _ in range(50):  # a process may start another while it is being ended
        members = [one for one in psutil.process_iter() if _session(one) == leader and not _is_zombie(one)]
        left = [one for one in members if one.pid != os.getpid()]
        if not left:
            break
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=2)
    with suppress(ChildProcessError):
        os.waitpid(leader, os.WNOHANG)


def _session(process: Any) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_zombie(process: Any) -> bool:
    import psutil

    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def exclusive_lock(path: Path, problem: str, *, timeout_s: float = 0.0, leaves_work: bool = True) -> Iterator[None]:
    """Hold `path` locked, with this process's number in it; the system lets go when the process dies.

    `leaves_work` says whether a holder that is killed leaves something to go on with, as `was_killed` tells.

    Raises:
        BusyError: `problem`, where another process still holds it after `timeout_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.is_file():
        remove_record(path)  # a folder or a dangling link in its place
    deadline = time.monotonic() + timeout_s
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    owner = (file.read().split() or "?")[0]
                    fix = "wait until it has ended, or end it"
                    raise BusyError(f"{problem} (process {owner})", fix=fix) from None
            time.sleep(0.02)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n" if leaves_work else f"{os.getpid()} leaves nothing\n")
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
            text = "".join(file.read().split()[:1])
            return int(text) if text.isdigit() else 0
    return None


def was_killed(path: Path) -> bool:
    """Tell whether the last process that held the lock at `path` ended before it could let go of it, and left work."""
    return path.exists() and len(path.read_bytes().split()) == 1 and lock_owner(path) is None


def terminate_owner(path: Path) -> bool:
    """End the process that holds the lock at `path`, unless it is this one; return whether there was another."""
    import psutil

    owner = lock_owner(path)
    if not owner or owner == os.getpid():
        return False
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(owner)
        process.terminate()
        for survivor in psutil.wait_procs([process], timeout=GRACE_SECONDS)[1]:
            survivor.kill()
    return True


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
