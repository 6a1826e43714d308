"""Pack what of a project lies neither in git nor in DVC, and put it into a fresh clone again.

That is `.evergreen`, without what is made anew and what belongs to processes, and DVC's settings of this machine.
"""

from __future__ import annotations

import json
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from evergreen.core.errors import PipelineError
from evergreen.core.files import atomic_write, make_private
from evergreen.core.processes import lock_owner

FORMAT = 1
HEAD = "evergreen-backup.json"
HOME, DVC_SETTINGS = ".evergreen", ".dvc/config.local"
MADE_ANEW = {  # in .evergreen: from DVC, by the next run, or by the next start of an engine
    *("released", "collect", "preprocess", "tune", "runs", "examples", "versions"),
    *("dvc", "ray", "haproxy", "locks", "home", "ray.json", "prefect.json", "watch.json"),
}
SCRATCH = ("backup-*", "removed-*", "rows-*", "rehearsal-*")  # folders in .evergreen that a killed process may leave
UNNEEDED = (".lock", ".log", ".tmp", ".old", ".db-wal", ".db-shm", ".db-journal")  # endings
WHILE_RUNNING = "end it first with: evergreen stop"


def list_kept(root: Path) -> Iterator[Path]:
    """Yield the files of a project that lie neither in git nor in DVC and cannot be made anew."""
    home = root / HOME
    for path in sorted(home.rglob("*")):
        top = path.relative_to(home).parts[0]
        is_left_out = top in MADE_ANEW or any(fnmatch(top, pattern) for pattern in SCRATCH)
        if not is_left_out and path.suffix not in UNNEEDED and path.is_file():
            yield path
    if (root / DVC_SETTINGS).is_file():
        yield root / DVC_SETTINGS


def write_backup(root: Path, file: Path) -> int:
    """Write a backup to `file`, for its owner alone to read, whole or not at all; return how many files it holds.

    Engines may be at work: databases are copied as they stand at one moment.
    """
    n_files = 0
    with atomic_write(file) as temporary, tempfile.TemporaryDirectory(dir=root / HOME, prefix="backup-") as folder:
        temporary.touch(0o600)
        head = Path(folder, HEAD)
        head.write_text(json.dumps({"format": FORMAT, "at": datetime.now(UTC).isoformat(timespec="seconds")}))
        with tarfile.open(temporary, "w:gz", compresslevel=1) as archive:
            archive.add(head, HEAD)
            for path in list_kept(root):
                source = _copy_database(path, Path(folder)) if path.suffix == ".db" else path
                try:
                    archive.add(source, path.relative_to(root).as_posix(), recursive=False)
                except FileNotFoundError:  # a journal that became Parquet, which is found as well
                    continue
                n_files += 1
    return n_files


def restore_backup(root: Path, file: Path) -> int:
    """Put the files of a backup into a project; return how many. One that is killed is called again.

    Raises PipelineError for what is no backup, where something runs, and where another file is in the place of one:
    then nothing was changed.
    """
    busy = [lock.name for lock in sorted((root / HOME / "locks").glob("*")) if lock_owner(lock)]
    if busy:
        raise PipelineError(f"{', '.join(busy)} is at work in this project", fix=WHILE_RUNNING)
    make_private(root / HOME)
    with _open(file) as archive, tempfile.TemporaryDirectory(dir=root / HOME, prefix="backup-") as folder:
        archive.extractall(folder, filter="data")
        new = {
            path: root / path.relative_to(folder) for path in sorted(Path(folder, HOME).rglob("*")) if path.is_file()
        }
        if (settings := Path(folder, DVC_SETTINGS)).is_file():
            new[settings] = root / DVC_SETTINGS
        if taken := [
            place for path, place in new.items() if place.exists() and place.read_bytes() != path.read_bytes()
        ]:
            shown = ", ".join(str(place.relative_to(root)) for place in taken[:3]) + " …" * (len(taken) > 3)
            fix = "move that away, or restore into a fresh clone"
            raise PipelineError(f"the project holds others already: {shown}", place=str(file), fix=fix)
        for path, place in new.items():
            for parent in reversed(place.relative_to(root).parents[:-2]):
                (root / parent).mkdir(mode=0o700, exist_ok=True)
            path.replace(place)
    return len(new)


def _open(file: Path) -> tarfile.TarFile:
    """Open a backup. Raises PipelineError for what is none, or holds what it must not."""
    fix = "name a file that `evergreen backup FILE` wrote"
    try:
        archive = tarfile.open(file, "r:gz")  # noqa: SIM115 - the caller closes it
        head = archive.extractfile(HEAD)
        version = json.load(head)["format"] if head else 0
        members = archive.getmembers()
    except FileNotFoundError:
        raise PipelineError("there is no such file", place=str(file), fix=fix) from None
    except (tarfile.TarError, OSError, EOFError, ValueError, LookupError, TypeError) as error:
        raise PipelineError(f"is no backup of Evergreen's, or damaged ({error})", place=str(file), fix=fix) from None
    if version != FORMAT:
        problem = f"written by a newer Evergreen (format {version!r:.20}, this one reads {FORMAT})"
        raise PipelineError(problem, place=str(file), fix="install the newest Evergreen")
    for member in members:
        parts = PurePosixPath(member.name).parts
        is_ours = parts[:1] == (HOME,) or member.name in (HEAD, DVC_SETTINGS)
        if not (is_ours and member.isfile() and ".." not in parts and stat.S_IMODE(member.mode) & 0o400):
            raise PipelineError(f"it holds {member.name!r:.80}, which no backup does", place=str(file), fix=fix)
    return archive


def _copy_database(path: Path, folder: Path) -> Path:
    """Copy a database of SQLite as it stands at one moment, also while others write."""
    copy = folder / path.name
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy
