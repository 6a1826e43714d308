"""Lead the processes of a clone's local Ray: `python -m evergreen.stages.engines.ray_node ROOT` leads it.

All that Ray starts, workers and Serve's proxy too, stays in the leader's session: so a session is what is ended.
Its record, `.evergreen/ray.json`, is written before the leader begins; the leader adds the addresses once Ray is up.
"""

import os
import re
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

from evergreen.core.files import make_private, read_json, write_json
from evergreen.core.processes import describe_process, end_session, is_alive, read_record
from evergreen.stages.engines import ray_internals

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.25  # between two looks whether all of Ray lives
OBJECT_STORE = 512 * 2**20  # bytes; training reads its data from Parquet, so only small things pass through it
# Bytes of a path that still leave room for those of Ray's sockets.
LONGEST_FOLDER = 107 - len("/session_2026-01-01_00-00-00_000000_1234567/sockets/dash_TaskEventsHead")


def lead(root: Path) -> None:
    """Start Ray's processes as children that die with this one, and stay until one of them or the record is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    record = read_json(place(root))
    own = Path(record["folder"])
    own.parent.mkdir(mode=0o700, exist_ok=own.parent == home(root))
    own.mkdir(mode=0o700)
    node = ray_internals.start_head(
        node_ip_address=LOOPBACK,
        include_dashboard=True,  # Serve is configured through it
        dashboard_host=LOOPBACK,
        dashboard_port=0,
        dashboard_agent_listen_port=0,
        min_worker_port=0,
        max_worker_port=0,
        num_cpus=count_cpus(),
        object_store_memory=OBJECT_STORE,
        temp_dir=str(own),
        no_monitor=True,  # it scales clouds
        include_log_monitor=False,  # nobody prints workers' logs
    )
    record |= {
        "address": node.gcs_address,
        "dashboard": f"http://{node.webui_url}",
        "token": os.environ["RAY_AUTH_TOKEN_PATH"],
        "parts": [describe_process(one[0].process.pid) for one in node.all_processes.values()],
    }
    write_json(place(root), record)
    while not node.dead_processes() and _is_recorded(root):  # without its record nobody would end it
        time.sleep(POLL_SECONDS)
    end_session(record)  # half a Ray answers nobody and keeps all that asks waiting


def count_cpus() -> int:
    """Return the cores that this clone's Ray takes for its own; at least 2."""
    return max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2)


def _is_recorded(root: Path) -> bool:
    record = read_record(place(root))
    return record is not None and record["pid"] == os.getpid()


def load_up(root: Path) -> dict[str, Any] | None:
    """Return the record of this clone's Ray; None unless all of it is up."""
    record = read_record(place(root))
    return record if is_up(record) else None


def is_up(record: dict[str, Any] | None) -> bool:
    """Tell whether the recorded Ray has started and none of its own processes has died."""
    return bool(record and "address" in record and all(map(is_alive, [record, *record.get("parts", [])])))


def choose_folder(root: Path) -> Path:
    """Return a path for Ray's sockets and logs: in the project, or in /tmp where Ray could not use a path there.

    Ray opens it to everybody, so it lies in one that is open to its owner alone.
    """
    own = home(root) / "ray"
    return own if is_fit(own, LONGEST_FOLDER) else Path("/tmp") / f"evergreen-{secrets.token_hex(8)}" / "ray"


def is_fit(folder: Path, max_bytes: int) -> bool:
    """Tell whether sockets may lie in the folder: paths have a limit, Ray takes ASCII alone, and HAProxy no spaces."""
    return re.fullmatch(r"[\w./+@-]+", str(folder), re.ASCII) is not None and len(os.fsencode(folder)) <= max_bytes


def place(root: Path) -> Path:
    """Return the file that records the local cluster."""
    return root / ".evergreen" / "ray.json"


def home(root: Path) -> Path:
    """Make and return the folder of everything that runs, for its owner alone."""
    return make_private(root / ".evergreen")


if __name__ == "__main__":
    lead(Path(sys.argv[1]))
