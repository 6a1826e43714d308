"""Choose what is too old or too much among things of which each may go by itself."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from evergreen.core.durations import DAY


@dataclass(frozen=True)
class Entry:
    """A file or folder with its bytes on the disk and when it was written last (since 1970)."""

    path: Path
    size: int
    written: float


def measure(path: Path) -> Entry:
    """Measure a file, or a folder with all in it; what goes meanwhile counts for nothing."""
    size, written = 0, 0.0
    for one in (path, *path.rglob("*")):
        try:
            stat = one.lstat()
        except OSError:
            continue
        size, written = size + stat.st_blocks * 512, max(written, stat.st_mtime)
    return Entry(path, size, written)


def choose_old(entries: Iterable[Entry], max_days: float, max_bytes: float = float("inf")) -> list[Entry]:
    """Return those that are older than `max_days`, and the oldest while all together take more than `max_bytes`."""
    ordered = sorted(entries, key=lambda entry: entry.written)
    left, last = sum(entry.size for entry in ordered), time.time() - max_days * DAY
    old = []
    for entry in ordered:
        if entry.written < last or left > max_bytes:
            old.append(entry)
            left -= entry.size
    return old
