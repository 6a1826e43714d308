"""Connect to Ray: a local cluster that belongs to this clone, or the one that `cluster.yaml` names.

The local cluster is started once and stays up. It is a session of processes of its own (ray_node.py), reachable
through loopback alone and with this clone's token alone, on free ports and in its own folder, so that clones on one
machine do not meet. Its record, `.evergreen/ray.json`, says how to reach it and what to end.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evergreen.core.errors import OutageError, PipelineError
from evergreen.core.files import read_secret
from evergreen.core.paths import IMPORT_ROOT
from evergreen.core.processes import (
    end_session,
    end_unrecorded,
    exclusive_lock,
    is_alive,
    launch,
    read_record,
    remove_record,
)
from evergreen.stages.engines import cluster_file, ray_internals, ray_node, ray_watch
from evergreen.stages.engines.preflight.reach import list_machines

START_SECONDS = 180.0  # 4 on two idle cores; a start that fails ends long before
ATTEMPTS = 2  # to start Ray and to connect to it
SETTINGS = {  # of the cluster's processes and of those that connect to it
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how often Train looks whether its workers are done, 2 by default
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune prints nothing
}
# After 60 s without the local GCS a process would abort in C++; ray_watch.py notices long before.
PATIENT = {"RAY_gcs_rpc_server_reconnect_timeout_s": "86400"}


def environment(root: Path) -> dict[str, str]:
    """Return the environment in which this clone's local Ray is started; its workers inherit it."""
    from evergreen.stages.engines import haproxy

    return {
        **access(root),
        **haproxy.environment(root),
        **SETTINGS,
        "PYTHONPATH": str(IMPORT_ROOT),
        # The name notwithstanding: it lets the dashboard, where Serve is configured, look for Ray on loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
        **dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), "lo" if sys.platform == "linux" else "lo0"),
        "RAY_worker_niceness": "0",  # by default 15: replicas and HAProxy starve beside whatever else runs
    }


def access(root: Path) -> dict[str, str]:
    """Return the environment that lets a process in. The token is a file, never a value that a process list shows."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(ray_node.home(root) / "ray.token")}


def connect(root: Path) -> None:
    """Connect this process to the clone's Ray, and start that where it is not up. A second call does nothing.

    Raises OutageError where Ray does not start, or dies at once, twice, and where no cluster answers; PipelineError
    where the cluster does not know this machine or its token.
    """
    root = root.resolve()
    real = cluster_file.read(root)
    os.environ.update(SETTINGS)
    if real.address:
        _join(real.address)
        return
    os.environ.update(access(root) | PATIENT)
    for attempt in range(ATTEMPTS):
        try:
            record = start(root)
            with ray_watch.raise_outage(root):
                _join(record["address"])
            return
        except OutageError:
            if attempt == ATTEMPTS - 1:
                raise


def start(root: Path) -> dict[str, Any]:
    """Start this machine's own Ray, whatever `cluster.yaml` says, where it is not up; return its record.

    Raises OutageError where it does not start.
    """
    root = root.resolve()
    with _locked(root):
        return _find(root) or _start(root)


def stop(root: Path) -> bool:
    """End the local cluster and remove its record and files; return False where nothing ran."""
    root = root.resolve()
    if "ray" in sys.modules:
        import ray

        ray.shutdown()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # what cannot be written cannot be locked, and has to end as well
            stack.enter_context(_locked(root))
        record, place = _read(root), ray_node.place(root)
        was_alive = is_alive(record)
        if record:
            _clear(root, record)
        elif os.path.lexists(place):
            was_alive = end_unrecorded(place)
            remove_record(place)
        return was_alive


def status(root: Path) -> dict[str, Any]:
    """Return {"running", "address", "dashboard", "pid"}: where this clone's Ray is, and whether it is up."""
    root = root.resolve()
    real = cluster_file.read(root)
    if real.address:
        return {"running": True, "address": real.address, "dashboard": None, "pid": None}
    record = ray_node.load_up(root) or {}
    return {"running": bool(record), **{name: record.get(name) for name in ("address", "dashboard", "pid")}}


def gpus() -> list[str]:
    """Return the names of this machine's GPUs that torch can use."""
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def cpus() -> int:
    """Return the number of the cluster's cores that no running work has reserved; at least 1."""
    import ray

    return max(1, int(ray_watch.ask(ray.available_resources).get("CPU", 1)))


def _join(address: str) -> None:
    import logging

    import ray

    if ray.is_initialized():
        if ray.get_runtime_context().gcs_address == address:
            return
        ray.shutdown()
    ray_internals.read_token_again()
    if address.startswith(ray_node.LOOPBACK):
        ray_internals.stay_on_loopback()
    elif not address.startswith("ray://"):
        list_machines(address)  # where Ray would wait for minutes, or abort
    quietly = {"configure_logging": True, "logging_level": logging.ERROR, "log_to_driver": False}
    with ray_internals.silence_driver():
        ray.init(address=address, **quietly)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)  # the one that Ray puts there aborts with a page of addresses


def _end(number: int, _: Any) -> None:
    """End this process quietly; Ray then frees what it held."""
    raise SystemExit(128 + number)


def _start(root: Path) -> dict[str, Any]:
    """Start the session that stages/engines/ray_node.py leads, and wait until it has written its record."""
    home = ray_node.home(root)
    read_secret(home / "ray.token")
    # Prefect's variables hold the key of its server, and no work on Ray calls that
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PREFECT_"))}
    folder = ray_node.choose_folder(root)
    shutil.rmtree(folder, ignore_errors=True)
    with (home / "ray.log").open("w") as log:
        launch(
            ray_node.place(root),
            [sys.executable, "-m", "evergreen.stages.engines.ray_node", str(root)],
            {"folder": str(folder)},
            cwd=IMPORT_ROOT,
            env={**variables, **environment(root)},
            stdout=log,
            stderr=log,
        )
    return _wait(root)


def _wait(root: Path) -> dict[str, Any]:
    """Wait until the Ray that is starting is up. Raises OutageError where it does not come up."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and is_alive(record := _read(root)):
        if ray_node.is_up(record):
            return record  # type: ignore[return-value]
        time.sleep(0.02)
    log = ray_node.home(root) / "ray.log"
    if record:
        _clear(root, record)
    last = next((line.strip() for line in reversed(log.read_text().splitlines()) if line.strip()), "it said nothing")
    raise OutageError(f"Ray does not start: {last}", place=str(log), fix="read the end of that file, then try again")


def _find(root: Path) -> dict[str, Any] | None:
    """Return the record of a Ray that is up, or that a command which has ended began to start; remove a dead one."""
    record = _read(root)
    if ray_node.is_up(record):
        return record
    with contextlib.suppress(OutageError):
        if record and "address" not in record and is_alive(record):
            return _wait(root)
    if record := _read(root):
        _clear(root, record)
    return None


def _clear(root: Path, record: dict[str, Any]) -> None:
    """End the recorded session, also one whose leader was killed, and remove its files."""
    from evergreen.stages.engines import haproxy

    end_session(record)
    folder = Path(record.get("folder", ray_node.place(root).parent / "ray"))
    if folder.name == "ray" and (folder.parent == ray_node.home(root) or folder.parent.name.startswith("evergreen-")):
        shutil.rmtree(folder if folder.parent == ray_node.home(root) else folder.parent, ignore_errors=True)
    with contextlib.suppress(OSError, PipelineError):
        haproxy.clear(root)
    remove_record(ray_node.place(root))


def _read(root: Path) -> dict[str, Any] | None:
    return read_record(ray_node.place(root))


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Let one process at a time start or stop this clone's Ray."""
    problem = "another command starts or stops Ray"
    with exclusive_lock(ray_node.home(root) / "ray.lock", problem, timeout_s=2 * START_SECONDS):
        yield
