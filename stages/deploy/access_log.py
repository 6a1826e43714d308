"""Write a line of JSON about each request to a file of the replica, where somebody asks for it."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.core.durations import DAY
from evergreen.core.files import make_private

if TYPE_CHECKING:
    from evergreen.stages.deploy.counters import Who
    from evergreen.stages.deploy.protocols import Call

MAX_BYTES, KEPT = 2**26, 3  # of a file, and how many full ones are kept beside it
MAX_AGE_SECONDS = 30 * DAY  # of a file of a replica that has gone


class AccessLog(RotatingFileHandler):
    """Hold the file; a full disk stops no answer."""

    def __init__(self, home: Path, replica: str) -> None:
        """Make `replica`.jsonl beside `home`, for its owner alone, and remove what is too old."""
        folder = make_private(home.parent / "access")
        for old in folder.iterdir():
            if time.time() - old.stat().st_mtime > MAX_AGE_SECONDS:
                old.unlink(missing_ok=True)
        super().__init__(folder / f"{replica}.jsonl", maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8")

    def note(self, call: Call, status: int, who: Who, seconds: float) -> None:
        """Write what became of a request; its rows and its query, which may tell of a person, are left out."""
        pipeline, version, role = who
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": call.request_id,
            "method": call.request.method,
            "path": call.request.scope["path"],
            "status": status,
            "seconds": round(seconds, 6),
            "pipeline": pipeline,
            "version": version,
            "role": role if pipeline else "",
            "key": call.caller.name,
        }
        self.handle(logging.makeLogRecord({"msg": json.dumps(line), "levelno": logging.INFO}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave a line out that cannot be written."""


def follow_access(before: AccessLog | None, home: Path | None, replica: str, *, is_wanted: bool) -> AccessLog | None:
    """Return the log that a replica is to write: the one before, a new one, or none."""
    if home and is_wanted:
        return before or AccessLog(home, replica)
    if before:
        before.close()
    return None
