"""The one door to Ray: a local cluster that belongs to this clone, or the real one that `cluster.yaml` names.

The local cluster is started once and stays up. It is a session of processes of its own (`python -m stages.cluster`
leads it), reachable through loopback alone and with this clone's token alone, on free ports and in its own folder, so
that clones on one machine do not meet. Its record, `.evergreen/ray.json`, says how to reach it and what to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CODE = Path(__file__).resolve().parent.parent  # where workers import data, models and stages from
LOOPBACK = "127.0.0.1"
OBJECT_STORE = 512 * 2**20  # bytes; training reads its data from Parquet, so only small things pass through it
LONGEST_FOLDER = 107 - len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")  # bytes: a socket's path
START_SECONDS = 60.0
EXCLUDES = [".git", ".venv", ".evergreen", "data/store", "models/store"]  # never sent to a real cluster


SETTINGS = {  # of the cluster's processes and of those that connect to it
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how often Train looks whether its workers are done, 2 by default
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune prints nothing
}


@dataclass(frozen=True)
class Settings:
    """`cluster.yaml` at the clone's root; without it everything runs on this machine."""

    address: str = ""  # of a Ray cluster, host:port
    storage: str = ""  # a folder that all its machines see under this path


def settings(root: Path) -> Settings:
    """Where Ray is. Raises PipelineError for a mistake in `cluster.yaml`."""
    from stages.settings import File, PipelineError

    place = root / "cluster.yaml"
    if not place.exists():
        return Settings(address=os.environ.get("EVERGREEN_RAY_ADDRESS", ""))
    file = File(place.name)
    values = file.load(place)
    found: Settings = file.build(Settings, values, "")
    if found.address and not Path(found.storage).is_absolute():
        fix = "give the absolute path of a folder that all machines of the cluster see"
        raise PipelineError("a cluster needs storage", place=place.name, fix=fix)
    return found


def environment(root: Path) -> dict[str, str]:
    """The environment in which this clone's local Ray is started; its workers inherit it."""
    from stages import front

    return {
        **access(root),
        **front.environment(root),
        "PYTHONPATH": str(CODE),
        "RAY_USAGE_STATS_ENABLED": "0",
        # The name notwithstanding: it lets the dashboard, where Serve is configured, look for Ray on loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how often it looks for workers that are done; 2 by default
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    }


def access(root: Path) -> dict[str, str]:
    """What a process needs in its environment to be let in. The token is a file, never a value that a list shows."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(_home(root) / "ray.token")}


def connect(root: Path) -> None:
    """Connects this process to the clone's Ray and starts that where it is not up. Called again, it does nothing."""
    root = root.resolve()
    real = settings(root)
    os.environ.update(SETTINGS)
    if real.address:
        _join(real.address, runtime_env={"working_dir": str(CODE), "excludes": EXCLUDES})
        return
    with _locked(root):
        record = _record(root) or _start(root)
    os.environ.update(access(root))
    _join(record["address"])


def stop(root: Path) -> bool:
    """Ends the local cluster, its record and its files; False where nothing ran."""
    root = root.resolve()
    if "ray" in sys.modules:
        import ray

        ray.shutdown()
    with _locked(root):
        record = _read(root)
        alive = _alive(record)
        if record:
            _clear(root, record)
        return alive


def status(root: Path) -> dict[str, Any]:
    """{"running", "address", "dashboard", "pid"}: where this clone's Ray is and whether it is up."""
    root = root.resolve()
    real = settings(root)
    if real.address:
        return {"running": True, "address": real.address, "dashboard": None, "pid": None}
    record = _record(root) or {}
    return {"running": bool(record), **{name: record.get(name) for name in ("address", "dashboard", "pid")}}


def cpus() -> int:
    """Cores of the connected cluster that no running work has set aside; at least 1."""
    import ray

    return max(1, int(ray.available_resources().get("CPU", 1)))


def _join(address: str, **options: Any) -> None:
    import logging

    import ray
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    if ray.is_initialized():
        if ray.get_runtime_context().gcs_address == address:
            return
        ray.shutdown()
    Config.initialize("")  # the mode of authentication is read when ray is imported: read it now
    AuthenticationTokenLoader.instance().reset_cache()
    if address.startswith(LOOPBACK):  # else Ray looks for its services at this machine's outer address
        ray_constants.ENABLE_RAY_CLUSTER = False
    quietly = {"configure_logging": True, "logging_level": logging.ERROR, "log_to_driver": False}
    ray.init(address=address, **quietly, **options)


def _start(root: Path) -> dict[str, Any]:
    """Starts the session that `_lead` leads and waits until it has written its record."""
    home = _home(root)
    token = home / "ray.token"
    if not token.exists():
        with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    _place(root).unlink(missing_ok=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "stages.cluster", str(root)]
    log = home / "ray.log"
    with log.open("w") as output:
        leader = subprocess.Popen(
            command,
            cwd=CODE,
            env={**variables, **environment(root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and leader.poll() is None:
        if _place(root).exists():
            return _read(root) or {}
        time.sleep(0.02)
    _end(leader.pid)
    raise RuntimeError(f"Ray did not start; the end of {log}:\n" + "\n".join(log.read_text().splitlines()[-15:]))


def _lead(root: Path) -> None:
    """Starts Ray's processes as children that die with this one, and stays until one of them is gone or SIGTERM.

    Ray's own starters, `ray start` and `ray.init`, turn loopback into the machine's outer address, add a server on a
    fixed port, or fix an agent's port; the node that they both start takes what is said here.
    """
    import psutil
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    from stages.atomic import write_json

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = _folder(root)
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
        temp_dir=str(folder),
        no_monitor=True,  # it scales clouds
        include_log_monitor=False,  # nobody prints workers' logs
    )
    node = Node(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)
    record = {
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "address": node.gcs_address,
        "dashboard": f"http://{node.webui_url}",
        "token": os.environ["RAY_AUTH_TOKEN_PATH"],
        "folder": str(folder),
    }
    write_json(_place(root), record)
    while not node.dead_processes():
        time.sleep(1)


def _folder(root: Path) -> Path:
    """An empty folder for Ray's sockets and logs: in the clone, or in /tmp where a socket's path would be too long.

    Ray opens it to everybody, so it lies in one that is open to its owner alone.
    """
    folder = _home(root) / "ray"
    shutil.rmtree(folder, ignore_errors=True)
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        folder = Path(tempfile.mkdtemp(prefix="evergreen-", dir="/tmp")) / "ray"
    folder.mkdir(mode=0o700)
    return folder


def _end(leader: int) -> None:
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


def _record(root: Path) -> dict[str, Any] | None:
    """The record of a cluster that is up; what a dead one left is removed."""
    record = _read(root)
    if record and not _alive(record):
        _clear(root, record)
        return None
    return record


def _clear(root: Path, record: dict[str, Any]) -> None:
    """Ends the recorded session, also one whose leader was killed, and removes its files."""
    import psutil

    from stages import front

    if _alive(record) or not psutil.pid_exists(record["pid"]):  # else the number is another process's by now
        _end(record["pid"])
    folder = Path(record["folder"])
    shutil.rmtree(folder if folder.parent == _home(root) else folder.parent, ignore_errors=True)
    front.clear(root)
    _place(root).unlink(missing_ok=True)


def _alive(record: dict[str, Any] | None) -> bool:
    """Whether the recorded leader runs: a process with its number that started at another time is somebody else's."""
    import psutil

    if record is None:
        return False
    try:
        process = psutil.Process(record["pid"])
        return process.create_time() == record["started"] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _read(root: Path) -> dict[str, Any] | None:
    from stages.atomic import read_json

    return read_json(_place(root)) if _place(root).exists() else None


def _place(root: Path) -> Path:
    return root / ".evergreen" / "ray.json"


def _home(root: Path) -> Path:
    home = root / ".evergreen"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_mode & 0o077:
        home.chmod(0o700)
    return home


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One process at a time starts or stops this clone's Ray."""
    with (_home(root) / "ray.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    _lead(Path(sys.argv[1]))
