"""Remove what is old, too much, and needed by nobody; what a release, a canary, a pin or an approval needs stays.

It is known first who needs what, under the lock of whoever writes there, and each thing goes by itself: what is killed
at any moment leaves less to remove, and nothing that is half of itself under its own name.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from evergreen.core.errors import BusyError, UserError
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock, was_killed
from evergreen.core.retention import Entry, choose_old, measure
from evergreen.flows.serving import served_versions
from evergreen.stages.deploy import logged_requests
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.engines import released_copies, storage_budget, versions
from evergreen.stages.engines.backup_file import SCRATCH
from evergreen.stages.engines.dvc_unreferenced import unreferenced_objects
from evergreen.stages.housekeeping_config import LEAST_DAYS, HousekeepingConfig
from evergreen.stages.monitor.stage import read_findings
from evergreen.stages.pipeline import names, read

LOG_TAIL = 2**20  # bytes of a long log that stay
LEAST_SHRUNK = 2**24  # bytes that a database must give back to be written anew


def clean(root: Path, config: HousekeepingConfig) -> dict[str, int]:
    """Remove what `config` says; return the bytes that each kind of thing gave back. A problem keeps no other back.

    Raises BusyError where another process does so.
    """
    freed = dict[str, int]()
    with exclusive_lock(root / ".evergreen" / "locks" / "housekeeping", "it is being cleaned already"):
        for what, work in PLACES.items():
            try:
                if n_bytes := work(root, config):
                    freed[what] = n_bytes
            except (UserError, OSError) as error:
                versions.print_note(f"{what}: {error}")
    return freed


def clean_cache(root: Path, config: HousekeepingConfig) -> int:
    """Remove old objects that nothing records from DVC's cache."""
    if not config.cache_days or not (root / ".dvc" / "cache").is_dir():
        return 0
    with unreferenced_objects(root) as (_, entries):
        young = set(entries) - set(choose_old(entries, LEAST_DAYS))
        return _remove(
            root, [one for one in choose_old(entries, config.cache_days, config.cache_bytes) if one not in young]
        )


def clean_runs(root: Path, config: HousekeepingConfig) -> int:
    """Remove old checkpoints of pipelines that are not running, and what killed processes left."""
    home, freed = root / ".evergreen", 0
    for folder in [*home.glob("runs/*/"), *home.glob("tune/*/")]:
        lock = Paths(root, folder.name).run_lock
        if was_killed(lock):  # the next run goes on from there, and learns from the lock that this one was killed
            continue
        with suppress(BusyError), exclusive_lock(lock, "it runs", leaves_work=False):
            freed += _remove(root, choose_old(map(measure, folder.iterdir()), config.runs_days))
    left = [path for pattern in SCRATCH for path in home.glob(pattern)]
    return freed + _remove(root, choose_old(map(measure, left), LEAST_DAYS))


def clean_requests(root: Path, config: HousekeepingConfig) -> int:  # noqa: ARG001
    """Keep of each request log, and of its labels, what its pipeline says, also where nothing serves it any more."""
    freed = 0
    for folder in root.glob(".evergreen/requests/*/"):
        log = (read(folder.name, root).deploy if folder.name in names(root) else DeployConfig()).log
        before = measure(folder).size
        logged_requests.remove_old(folder, days=log.days, max_bytes=log.max_bytes)
        _remove(root, choose_old(map(measure, folder.glob("labels/*.parquet")), log.days))
        freed += before - measure(folder).size
    return freed


def clean_released(root: Path, config: HousekeepingConfig) -> int:
    """Remove copies of versions that nothing serves and that can be fetched from DVC's cache."""
    served = {f"{name} {version}" for name, version in served_versions(root).items()}
    copies = released_copies.list_unneeded(root, served) if (root / ".evergreen" / "released").is_dir() else ()
    return _remove(root, choose_old(map(measure, copies), config.released_days))


def clean_references(root: Path, config: HousekeepingConfig) -> int:
    """Remove what requests are compared with, of versions that are asked no more; the monitor makes it anew."""
    served, entries = served_versions(root), list[Entry]()
    for folder in root.glob(".evergreen/monitor/*/*/"):
        name, version = folder.parent.name, folder.name
        if served.get(name) != version:
            windows = read_findings(Paths(root, name))["windows"]
            asked = max((one["last"] for one in windows if one["version"] == version), default="1970-01-01T00:00+00:00")
            found = measure(folder)
            entries.append(replace(found, written=max(found.written, datetime.fromisoformat(asked).timestamp())))
    return _remove(root, choose_old(entries, config.released_days))


def clean_logs(root: Path, config: HousekeepingConfig) -> int:
    """Keep the end of logs that are too long; who writes them goes on behind it. A kill leaves it there twice."""
    freed = 0
    for path in root.glob(".evergreen/*.log"):
        if (size := path.stat().st_size) > config.log_bytes:
            with path.open("r+b") as file:
                file.seek(-LOG_TAIL, os.SEEK_END)
                tail = file.read()
                file.seek(0)
                file.write(tail)
                file.truncate()
            freed += size - len(tail)
    return freed


def shrink_database(root: Path, config: HousekeepingConfig) -> int:  # noqa: ARG001
    """Give back what Prefect's database no longer needs, unless it is busy; Prefect itself removes old runs."""
    path = root / ".evergreen" / "prefect" / "prefect.db"
    if not path.is_file():
        return 0
    before = path.stat().st_size
    with closing(sqlite3.connect(path, timeout=5)) as database, suppress(sqlite3.OperationalError):
        free = [database.execute(f"PRAGMA {word}").fetchone()[0] for word in ("freelist_count", "page_size")]
        if free[0] * free[1] > max(LEAST_SHRUNK, before / 2):
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return max(before - path.stat().st_size, 0)


def clean_storage(root: Path, config: HousekeepingConfig) -> int:  # noqa: ARG001
    """Keep the storage of `cluster.yaml` within its budget."""
    before = {place.name: place.size for place in storage_budget.list_places(root)}
    return sum(before.get(name, 0) for name in storage_budget.remove_unused(root)) if before else 0


PLACES: dict[str, Callable[[Path, HousekeepingConfig], int]] = {
    "DVC's cache": clean_cache,
    "checkpoints": clean_runs,
    "request log": clean_requests,
    "copies of versions": clean_released,
    "rows of versions": clean_references,
    "logs": clean_logs,
    "Prefect's database": shrink_database,
    "storage": clean_storage,
}


def _remove(root: Path, entries: list[Entry]) -> int:
    """Remove files and folders, a folder under another name, so that none is ever half there; return their bytes."""
    for entry in entries:
        if entry.path.is_dir() and not entry.path.is_symlink():
            moved = root / ".evergreen" / f"removed-{secrets.token_hex(8)}"
            entry.path.rename(moved)
            shutil.rmtree(moved, ignore_errors=True)
        else:
            entry.path.unlink(missing_ok=True)
    return sum(entry.size for entry in entries)
