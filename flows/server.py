"""Run the project's own Prefect server: a flow starts it, the next one finds it, `evergreen stop` ends it.

A flow without a server starts a temporary one (5 to 12 s each time) which may lose the last states at its exit.
Whoever may use Prefect's API can run any command as its owner, so the server answers those who have its key alone.
"""

import hashlib
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from evergreen.core import processes
from evergreen.core.background import in_background
from evergreen.core.durations import DAY
from evergreen.core.errors import PipelineError, UserError
from evergreen.core.files import make_private, read_json, read_secret
from evergreen.core.paths import IMPORT_ROOT
from evergreen.stages.housekeeping_config import HousekeepingConfig, read_housekeeping

FIRST_PORT = 4200  # Prefect's own; a taken one moves on to the next
PORTS = 100
START_SECONDS = 90.0  # a new database takes 7 s on a free two-core machine
USER = "evergreen"  # HTTP's basic authentication wants a name before the key


class Server:
    """Start, find and end the server of one project; between `start` and `wait` other engines may start."""

    def __init__(self, root: Path) -> None:
        """Name the files of the server of the project at `root`."""
        self.root = root
        self.home = root / ".evergreen" / "prefect"
        self.file = root / ".evergreen" / "prefect.json"
        self.log = root / ".evergreen" / "prefect.log"
        self.key_file = root / ".evergreen" / "prefect.key"

    @property
    def url(self) -> str | None:
        """Return the address of the UI; None where the server is down."""
        facts = processes.load_live(self.file)
        return facts["url"] if facts else None

    @property
    def key(self) -> str:
        """Return "evergreen:KEY", with which Prefect's UI and API and the reports are entered; it is made once."""
        return read_secret(self.key_file, f"{USER}:")

    def start(self) -> None:
        """Start the server unless it is up, and point this process's Prefect at it (before Prefect is imported).

        Raises:
            PipelineError: the server has another key than the project, and another process needs it; or the database
                is damaged.
        """
        make_private(self.home.parent)
        make_private(self.home)
        lock, problem = self.file.with_suffix(".lock"), "another command is starting Prefect"
        with processes.exclusive_lock(lock, problem, timeout_s=START_SECONDS):
            key = self.key
            fingerprint = hashlib.sha256(key.encode()).hexdigest()
            facts = processes.load_live(self.file)
            if facts and facts.get("key") != fingerprint:
                self._end_outdated()
                facts = None
            if facts is None:
                self._check_database()
                self._launch(fingerprint)
        os.environ.pop("PREFECT_API_KEY", None)  # of another server
        os.environ.update(self._settings() | {"PREFECT_API_URL": f"{self.url}/api", "PREFECT_API_AUTH_STRING": key})

    def _end_outdated(self) -> None:
        """End a server that an older Evergreen started without a key, or whose key was deleted since."""
        locks = (self.root / ".evergreen" / "locks").glob("*")
        owners = {path.name: processes.lock_owner(path) for path in locks}
        if busy := sorted(name for name, owner in owners.items() if owner not in (None, os.getpid())):
            problem = f"Prefect's server has another key than {self.key_file}, and {', '.join(busy)} needs it"
            raise PipelineError(problem, fix="wait until that has ended, or end all with: evergreen stop")
        self.stop()

    def _check_database(self) -> None:
        """Raise PipelineError for a damaged database: Prefect would end in a traceback, or fail at any later moment."""
        import sqlite3

        database = self.home / "prefect.db"
        if not database.exists():
            return
        try:
            with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True)) as connection:
                [(finding,)] = connection.execute("PRAGMA quick_check(1)")
        except sqlite3.DatabaseError as error:
            finding = str(error)
        if finding != "ok":
            problem = f"Prefect's database is damaged ({' '.join(finding.split())})"
            fix = "move it away: Prefect begins another one, without the record of earlier runs"
            raise PipelineError(problem, place=str(database), fix=fix)

    def _launch(self, fingerprint: str) -> None:
        """Bind the port here and hand it over open: no other project can take it while the server starts."""
        with bind_free_port(FIRST_PORT, self._last_port()) as listener, self.log.open("ab") as log:
            url = "http://{}:{}".format(*listener.getsockname())
            # settings that a person has for Prefect are of other servers, and could move this one's API or database
            kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            own = {
                "PYTHONPATH": str(IMPORT_ROOT),
                # else Prefect's page asks what listens on its first port, another project's server
                "PREFECT_SERVER_UI_API_URL": f"{url}/api",
                "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": url,
                "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
                "PREFECT_LOGGING_LEVEL": "WARNING",
            }
            processes.launch(
                self.file,
                [sys.executable, "-m", "evergreen.flows.guarded_app", str(self.root), str(listener.fileno())],
                {"url": url, "key": fingerprint},
                env=kept | self._settings() | own,
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
                cwd=self.home,
            )

    def _last_port(self) -> list[int]:
        """Return the port of a server that died: what still talks to it finds the next one there."""
        url = read_json(self.file)["url"] if self.file.exists() else ""
        return [int(url.rpartition(":")[2])] if url else []

    def wait(self) -> str:
        """Return the server's address once it answers.

        Raises:
            PipelineError: it does not answer in time.
        """
        limit = time.monotonic() + START_SECONDS
        while (url := self.url) and time.monotonic() < limit:
            if _answers(f"{url}/api/health"):
                return url
            time.sleep(0.1)
        raise PipelineError("Prefect's server does not start", place=str(self.log), fix="the end of that file says why")

    @contextmanager
    def kept_up(self) -> Iterator[None]:
        """Start the server again where it dies in the block: Prefect's clients ask again until it answers."""

        def watch(over: threading.Event) -> None:
            while not over.wait(0.5):
                if self.url is None:
                    with suppress(PipelineError):  # tried again at the next look
                        self.start()
                        print("evergreen: Prefect's server died; it is started again", file=sys.stderr)

        with in_background(watch):
            yield

    def stop(self) -> bool:
        """End the server; return whether it was up."""
        return processes.terminate_tree(self.file)

    def _settings(self) -> dict[str, str]:
        kept_days = HousekeepingConfig().prefect_days
        with suppress(UserError):  # `evergreen watch` and `evergreen du --clean` tell of a mistake there
            kept_days = read_housekeeping(self.root).prefect_days
        return {
            "PREFECT_HOME": str(self.home),
            "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "true",  # old runs go, with what they logged
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"{kept_days * DAY:.0f}",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "DO_NOT_TRACK": "1",
            # Prefect's lines go to its UI; the screen belongs to the progress line
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        }


def bind_free_port(first: int, wanted: Sequence[int] = (), host: str = "127.0.0.1") -> socket.socket:
    """Return a socket on the first free port of this machine, of those `wanted` and then from `first` on.

    Raises PipelineError where none is free, or the machine has no such address.
    """
    for port in [*wanted, *range(first, first + PORTS)]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
        except OSError:
            listener.close()
        else:
            return listener
    problem = f"no free port from {first} to {first + PORTS - 1} at {host}"
    raise PipelineError(problem, fix="stop the program that listens there, or name an address of this machine")


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def mark_abandoned_crashed(tag: str = "", keep: Any = None, *, flows: Sequence[str] = ()) -> int:
    """Mark flow runs as crashed that count as running though their process died; return how many.

    They are those with `tag`, or of `flows`. The caller holds the lock of the pipeline or of `watch`: then no other
    process runs them. `keep` is the id of the caller's own run.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.states import Crashed

    fields = {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}} | ({"tags": {"all_": [tag]}} if tag else {})
    left = FlowRunFilter.model_validate(fields)
    theirs = FlowFilter.model_validate({"name": {"any_": [*flows]}}) if flows else None
    with get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs(flow_filter=theirs, flow_run_filter=left) if run.id != keep]
        for run in runs:
            client.set_flow_run_state(run.id, Crashed(message="its process died"), force=True)
    return len(runs)
