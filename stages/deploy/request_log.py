"""Log what was asked and answered: a thread writes it to a journal each second, and closed journals become Parquet.

The request path puts what it has into a bounded queue and goes on; what finds no room is dropped and counted. Each
replica writes journals of its own and holds them locked, so what a killed replica left is told from what is being
written, and compacted by the next one. What the system has taken survives a kill: at most a second is lost.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError
from evergreen.core.files import make_private
from evergreen.stages.artifacts import MISFITS
from evergreen.stages.deploy import logged_requests
from evergreen.stages.request_files import PRODUCTION

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.stages.answer_table import Answers
    from evergreen.stages.deploy.loaded_version import LoadedVersion
    from evergreen.stages.deploy.version_process import VersionProcess

SECONDS = 1.0  # between two writes
MAX_QUEUED_BYTES = 64 * 2**20
MAX_QUEUED = 100_000  # requests
JOURNAL_BYTES = 64 * 2**20  # a longer journal becomes Parquet
CLEAN_SECONDS = 600.0  # between two looks at what is old, and at what dead replicas left
LOG = logging.getLogger("ray.serve")
Key = tuple[str, str, str]  # pipeline, version, role


@dataclass(slots=True)  # frozen would cost a microsecond
class Entry:
    """One request, or a batch of one."""

    name: str
    served: LoadedVersion | VersionProcess
    table: pa.Table  # as it was read
    answers: Answers
    request_id: str
    key: str
    latency_seconds: float
    n_bytes: int  # about what it takes while it waits
    row_ids: Sequence[Any] | None = None  # the caller's own, one a row
    first_row: int = 0
    role: str = PRODUCTION
    moment: float = field(default_factory=time.time)


def make_home(path: str | None) -> Path | None:
    """Make the folder for files of requests; None where there is to be none, or the machine cannot have it."""
    try:
        return make_private(Path(path)) if path else None
    except OSError as error:  # raised, it would end the replica
        LOG.error("requests are not logged: %s", error)
        return None


class RequestLog:
    """Take entries from any thread, and write them below `folder` in a thread of its own, once there is one."""

    def __init__(self, folder: Path, replica: str) -> None:
        self.folder, self.replica = folder, replica
        self.dropped_rows = self.written_rows = 0
        self._queue: list[Entry] = []
        self._queued_bytes, self._queueing = 0, threading.Lock()
        self._journals: dict[Key, Journal] = {}
        self._stop, self._writing = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._next_clean = 0.0

    def put(self, entry: Entry) -> None:
        """Queue an entry, unless it is not in the sample; drop it where the queue is full."""
        settings = entry.served.limits["log"]
        if settings["sample"] < 1 and zlib.crc32(entry.request_id.encode()) >= settings["sample"] * 2**32:
            return
        with self._queueing:
            if self._queued_bytes + entry.n_bytes > MAX_QUEUED_BYTES or len(self._queue) >= MAX_QUEUED:
                self.dropped_rows += entry.table.num_rows
                return
            self._queued_bytes += entry.n_bytes
            self._queue.append(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="request-log", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Write all that is queued now."""
        with self._writing:
            groups: dict[Key, list[Entry]] = {}
            with self._queueing:
                entries, self._queue, self._queued_bytes = self._queue, [], 0
            for entry in entries:
                groups.setdefault((entry.name, entry.served.version, entry.role), []).append(entry)
            for key, group in groups.items():
                self._write(key, group)

    def close(self) -> None:
        """Write what is queued, and compact this replica's journals."""
        self._stop.set()
        self.flush()
        with self._writing:
            for key in list(self._journals):
                try:
                    self._journals.pop(key).close()
                except OSError as error:
                    LOG.error("the request log of %s: %s", key[0], error)

    def _work(self) -> None:
        while not self._stop.wait(SECONDS):
            self.flush()
            try:
                self._clean()
            except (OSError, PipelineError) as error:
                LOG.error("the request log: %s", error)

    def _write(self, key: Key, entries: Sequence[Entry]) -> None:
        rows = sum(entry.table.num_rows for entry in entries)
        try:
            batch = logged_requests.to_batch(entries)
            today, journal = datetime.now(UTC).date().isoformat(), self._journals.get(key)
            if journal and (not journal.takes(batch) or journal.day != today or journal.size > JOURNAL_BYTES):
                self._journals.pop(key).close()
            if key not in self._journals:
                stem = f"{self.replica}-{time.time_ns():x}"
                settings = entries[0].served.limits["log"]
                self._journals[key] = Journal(self.folder / key[0], stem, today, batch.schema, settings)
            self._journals[key].write(batch)
            self.written_rows += rows
        except (*MISFITS, OSError) as error:  # a full disk, an odd value: serving and other logs go on
            self.dropped_rows += rows
            LOG.error("the request log of %s: %s", key[0], error)

    def _clean(self) -> None:
        """Compact journals of dead replicas and of days that are over, and remove what is too old or too much."""
        if time.monotonic() < self._next_clean:
            return
        self._next_clean = time.monotonic() + CLEAN_SECONDS
        today = datetime.now(UTC).date().isoformat()
        settings = {name: journal.settings for (name, *_), journal in self._journals.items()}
        with self._writing:
            for key in [key for key, journal in self._journals.items() if journal.day != today]:
                self._journals.pop(key).close()
        for name, kept in settings.items():
            for path in sorted((self.folder / name).glob("journal/*.arrows")):
                with path.open("rb") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    logged_requests.compact(path)
            logged_requests.remove_old(self.folder / name, days=kept["days"], max_bytes=kept["max_bytes"])


class Journal:
    """One file to which batches of one schema are appended: a stream of Arrow, locked while it is written."""

    def __init__(self, folder: Path, stem: str, day: str, schema: pa.Schema, settings: Mapping[str, Any]) -> None:
        import pyarrow as pa

        (folder / "journal").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path, self.day, self.schema = folder / "journal" / f"{day}.{stem}.arrows", day, schema
        self.settings = settings
        unlocked = self.path.with_suffix(".new")  # a name that nobody compacts
        self.file: IO[bytes] = os.fdopen(os.open(unlocked, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        unlocked.rename(self.path)
        self._writer = pa.ipc.new_stream(self.file, self.schema)

    @property
    def size(self) -> int:
        """The bytes written so far."""
        return self.file.tell()

    def takes(self, batch: pa.RecordBatch) -> bool:
        """Tell whether a batch has the columns of this journal."""
        return bool(batch.schema == self.schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch, and hand it to the system."""
        self._writer.write_batch(batch)
        self.file.flush()

    def close(self) -> None:
        """Compact the journal; the lock goes with the file."""
        self._writer.close()
        self.file.flush()
        logged_requests.compact(self.path)
        self.file.close()
