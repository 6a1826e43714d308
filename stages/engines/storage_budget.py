"""Keep the copies and runs in a cluster's storage within its budget: the longest unused go, what is in use stays.

A place in storage is KIND/PIPELINE/VERSION. Whoever uses one writes a mark of its name, again every minute while its
process lives; so a machine that dies lets go of its places some minutes later.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evergreen.core.errors import UserError
from evergreen.data.object_store import ObjectStore
from evergreen.stages.engines import cluster_file

KINDS = {
    "ready": "prepared rows, for the machines of the cluster",
    "start": "released weights that a training starts with",
    "served": "released models, for replicas on the machines of the cluster",
    "jobs": "results of stages that machines outside of the cluster ordered",
    "runs": "checkpoints of training runs",
}
MARKS = ".used"
MARK_SECONDS = 60.0  # between two marks of a place in use
HELD_SECONDS = 600.0  # after its last mark it is in use no longer
GIGABYTE = 10**9
_held: dict[str, set[str]] = {}  # storage → places that this process uses


@dataclass(frozen=True)
class Place:
    """Tell of a place in storage how large it is, when it was last used (since 1970), and whether it is in use."""

    name: str
    size: int
    used: float
    is_held: bool

    @property
    def what(self) -> str:
        """The kind of what lies there, in a few words."""
        return KINDS[self.name.partition("/")[0]]


def hold(storage: str, *place: str) -> None:
    """Mark a place, or all below it, as in use until this process ends."""
    if not _held:
        threading.Thread(target=_mark_on, daemon=True).start()
    _held.setdefault(storage, set()).add("/".join(place))
    _mark(storage, "/".join(place))


def list_places(root: Path) -> list[Place]:
    """Return what lies in the storage of `cluster.yaml`, the longest unused first. Raises DataError."""
    storage = cluster_file.read(root).storage
    if not storage:
        return []
    store, marks = ObjectStore(storage), dict[str, float]()
    sizes, written = dict[str, int](), dict[str, float]()
    for name, file in store.list_files(MARKS).items():
        marks[name.removeprefix(f"{MARKS}/").removesuffix("/mark")] = file.written
    for kind in KINDS:
        for name, file in store.list_files(kind).items():
            place = "/".join(name.split("/")[:3])
            sizes[place] = sizes.get(place, 0) + file.size
            written[place] = max(written.get(place, 0.0), file.written)
    places = []
    for name, size in sizes.items():
        mark = max(marks.get(name, 0.0), marks.get(name.rpartition("/")[0], 0.0))
        places.append(Place(name, size, max(mark, written[name]), time.time() - mark < HELD_SECONDS))
    return sorted(places, key=lambda place: place.used)


def remove_unused(root: Path) -> list[str]:
    """Remove the longest unused places until all fit `storage_gb`; return their names. Raises DataError."""
    cluster = cluster_file.read(root)
    places, removed = list_places(root), list[str]()
    left = sum(place.size for place in places)
    for place in places:
        if left > cluster.storage_gb * GIGABYTE and not place.is_held:
            ObjectStore(cluster.storage).remove_folder(place.name)
            removed.append(place.name)
            left -= place.size
    return removed


def _mark(storage: str, place: str) -> None:
    ObjectStore(storage).put_bytes(f"{MARKS}/{place}/mark", str(time.time()).encode())


def _mark_on() -> None:
    while True:
        time.sleep(MARK_SECONDS)
        for storage, places in list(_held.items()):
            for place in list(places):
                with suppress(UserError, OSError):  # again in a minute
                    _mark(storage, place)
