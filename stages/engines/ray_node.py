"""The session of processes that is a clone's local Ray: `python -m evergreen.stages.engines.ray_node ROOT` leads it.

All that Ray starts, workers and Serve's proxy too, stays in the leader's session: so a session is what is ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

LOOPBACK = "127.0.0.1"
OBJECT_STORE = 512 * 2**20  # bytes; training reads its data from Parquet, so only small things pass through it
LONGEST_FOLDER = 107 - len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")  # bytes: a socket's path


def lead(root: Path) -> None:
    """Starts Ray's processes as children that die with this one, and stays until one of them is gone or SIGTERM.

    Ray's own starters, `ray start` and `ray.init`, turn loopback into the machine's outer address, add a server on a
    fixed port, or fix an agent's port; the node that they both start takes what is said here.
    """
    import psutil
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    from evergreen.core.files import write_json
    from evergreen.core.processes import start_time_s

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    own = folder(root)
    parameters = RayParams(
        node_ip_address=LOOPBACK,
        include_dashboard=True,  # Serve is configured through it
        dashboard_host=LOOPBACK,
        dashboard_port=0,
        dashboard_agent_listen_port=0,
        min_worker_port=0,
        max_worker_port=0,
        num_cpus=max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2),
        object_store_memory=OBJECT_STORE,
        temp_dir=str(own),
        no_monitor=True,  # it scales clouds
        include_log_monitor=False,  # nobody prints workers' logs
    )
    node = Node(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)
    record = {
        "pid": os.getpid(),
        "started": start_time_s(psutil.Process()),
        "address": node.gcs_address,
        "dashboard": f"http://{node.webui_url}",
        "token": os.environ["RAY_AUTH_TOKEN_PATH"],
        "folder": str(own),
    }
    write_json(place(root), record)
    while not node.dead_processes():
        time.sleep(1)


def folder(root: Path) -> Path:
    """An empty folder for Ray's sockets and logs: in the project, or in /tmp where Ray could not use a path there.

    Ray opens it to everybody, so it lies in one that is open to its owner alone.
    """
    own = home(root) / "ray"
    shutil.rmtree(own, ignore_errors=True)
    if not is_fit(own, LONGEST_FOLDER):
        own = Path(tempfile.mkdtemp(prefix="evergreen-", dir="/tmp")) / "ray"
    own.mkdir(mode=0o700)
    return own


def is_fit(folder: Path, max_bytes: int) -> bool:
    """Tell whether sockets may lie in the folder: paths have a limit, Ray takes ASCII alone, and HAProxy no spaces."""
    return re.fullmatch(r"[\w./+@-]+", str(folder), re.ASCII) is not None and len(os.fsencode(folder)) <= max_bytes


def end(leader: int) -> None:
    """Kills every process of the session that `leader` leads or led, and waits for their ends."""
    import psutil

    def members() -> list[psutil.Process]:
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if os.getsid(pid) == leader and (one := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
        return found

    for _ in range(50):  # a process may start another while it is being ended
        left = members()
        if not left:
            break
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=2)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(leader, os.WNOHANG)


def place(root: Path) -> Path:
    return root / ".evergreen" / "ray.json"


def home(root: Path) -> Path:
    own = root / ".evergreen"
    own.mkdir(mode=0o700, exist_ok=True)
    if own.stat().st_mode & 0o077:
        own.chmod(0o700)
    return own


if __name__ == "__main__":
    lead(Path(sys.argv[1]))
