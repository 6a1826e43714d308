"""Put what workers need where all machines of a cluster find it; on one machine it stays where it is.

The cluster's storage is a folder that all machines see, or an address of objects. In the second case each machine
works in a folder of its own, in which a run's files are kept as they are in storage.
"""

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from evergreen.core.addresses import is_address, join
from evergreen.core.background import in_background
from evergreen.core.errors import DataError, UserError
from evergreen.core.files import atomic_directory, make_private
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock
from evergreen.data.object_store import ObjectStore
from evergreen.stages.engines import cluster_file, storage_budget

WHOLE = ".whole"  # the file that says, written last, that a stored folder is complete
FETCH_SECONDS = 3600.0  # how long to wait for another process of this machine that fetches the same
MIRROR_SECONDS = 1.0  # between two looks whether a run's files have changed
CACHE_SHARE = 0.2  # of a machine's disk, that its own copies may take
_used: dict[Path, TextIO] = {}  # copies that this process uses → their locks


def share_folder(root: Path, folder: Path, *place: str) -> str:
    """Return where workers find `folder`: itself, or its copy at `place` in the cluster's storage, made once.

    The copy stays while this process lives; for a new one others may have to go (storage_budget.py).
    """
    storage = cluster_file.read(root).storage
    if not storage:
        return str(folder.resolve())
    storage_budget.hold(storage, *place)
    shared = join(storage, *place) if is_address(storage) else str(Path(storage).joinpath(*place))
    if (_store_folder if is_address(storage) else _copy_folder)(folder, shared):
        with suppress(UserError):  # what is not ours to remove
            storage_budget.remove_unused(root)
    return shared


def _copy_folder(folder: Path, shared: str) -> bool:
    """Copy a folder; return False where the copy is there already."""
    if Path(shared).exists():
        return False
    with atomic_directory(Path(shared)) as new:
        shutil.copytree(folder, new, dirs_exist_ok=True)
    return True


def _store_folder(folder: Path, address: str) -> bool:
    """Store the files of a folder; return False where all of them are stored already."""
    store = ObjectStore(address)
    if store.has(WHOLE):
        return False
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    store.put_all(files)
    store.put_bytes(WHOLE, "\n".join(files).encode())
    return True


def fetch_folder(shared: str) -> Path:
    """Return where this machine has what `share_folder` returned: there, or in a copy that is fetched once."""
    if not is_address(shared):
        return Path(shared)
    folder = own_folder(shared)
    lock = folder.with_name(f"{folder.name}.lock")
    with exclusive_lock(lock, f"another process fetches {shared}", timeout_s=FETCH_SECONDS):
        if folder not in _used:  # locked until this process ends
            _used[folder] = folder.with_name(f"{folder.name}.used").open("w")
            fcntl.flock(_used[folder], fcntl.LOCK_SH)
        if not folder.exists():
            store = ObjectStore(shared)
            with atomic_directory(folder) as new:
                store.get_all({name: new / name for name in store.read(WHOLE).decode().splitlines()})
        os.utime(folder)
    _remove_unused(folder.parent)
    return folder


def _remove_unused(cache: Path) -> None:
    """Remove the longest unused copies of this machine that no process uses, until they fit a share of its disk."""
    sizes = {
        folder: sum(one.stat().st_size for one in folder.rglob("*")) for folder in cache.iterdir() if folder.is_dir()
    }
    budget = CACHE_SHARE * shutil.disk_usage(cache).total
    for folder in sorted(sizes, key=lambda folder: folder.stat().st_mtime):
        mark = folder.with_name(f"{folder.name}.used")
        if sum(sizes.values()) > budget and mark.exists():
            with mark.open("w") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                del sizes[folder]


def own_folder(address: str) -> Path:
    """Return the folder of this machine that stands for an address; nothing is made but its parent."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evergreen" / "storage"
    return make_private(cache) / hashlib.blake2b(address.encode(), digest_size=12).hexdigest()


def scratch_folder(root: Path, own: Path, *place: str) -> Path:
    """Return a folder for runs: `own`, or `place` in the cluster's storage where that is a folder."""
    storage = cluster_file.read(root).storage
    return own.resolve() if is_address(storage) or not storage else Path(storage).joinpath(*place)


def run_places(paths: Paths, version: str) -> dict[str, Any]:
    """Return where the prepared rows and the pipeline's runs are: {"ready", "folder", "remote"}.

    The first two are paths, this machine's own where storage is an address; `remote` then says by the same names where
    workers find them.
    """
    storage = cluster_file.read(paths.root).storage
    if storage:
        storage_budget.hold(storage, "runs", paths.name)
    ready = share_folder(paths.root, paths.ready, "ready", paths.name, version)
    runs = str(scratch_folder(paths.root, paths.run_folder, "runs", paths.name))
    if not is_address(ready):
        return {"ready": ready, "folder": runs, "remote": {}}
    folder = join(storage, "runs", paths.name)
    return {"ready": str(paths.ready.resolve()), "folder": runs, "remote": {"ready": ready, "folder": folder}}


class Mirror:
    """Keep a folder of this machine as its namesake at an address is; without an address do nothing."""

    def __init__(self, folder: Path, address: str = "") -> None:
        self.folder, self.store = folder, ObjectStore(address) if address else None
        self.stored: dict[str, tuple[int, int]] = {}  # name → size and time of the local file that storage has

    def pull(self) -> None:
        """Get the files that this machine does not have, or has of another size."""
        if self.store is None:
            return
        for name, file in self.store.list_files().items():
            local = self.folder / name
            if not local.is_file() or local.stat().st_size != file.size:
                with suppress(DataError):  # it was removed meanwhile
                    self.store.get(name, local)
            self._note(local)

    def push(self) -> None:
        """Store the files that are new or changed here, and remove those that were stored from here and are gone."""
        if self.store is None:
            return
        for file in sorted(path for path in self.folder.iterdir() if path.is_file() and path.name[0] != "."):
            with suppress(FileNotFoundError):  # it was removed meanwhile
                before = self.stored.get(file.name)
                self._note(file)
                if self.stored[file.name] != before:
                    self.store.put(file.name, file)
        for name in [name for name in self.stored if not (self.folder / name).exists()]:
            self.store.remove(name)
            del self.stored[name]

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Get what there is, and store what changes while the block runs, once a second."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pull()

        def follow(over: threading.Event) -> None:
            while not over.wait(MIRROR_SECONDS):
                with suppress(UserError, OSError):  # tried again in a second, and at the end
                    self.push()

        try:
            with in_background(follow if self.store else lambda _: None):
                yield
        finally:
            self.push()

    def _note(self, file: Path) -> None:
        if file.is_file():
            state = file.stat()
            self.stored[file.name] = state.st_size, state.st_mtime_ns
