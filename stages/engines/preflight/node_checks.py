"""Check one machine, on that machine. A check is a function of `Given` that yields findings; NODE_CHECKS lists all.

It runs as a task on each machine of a cluster, so nothing heavy is imported: what is missing there is a finding.
"""

import hashlib
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from evergreen.core.addresses import is_address
from evergreen.core.diagnosis import Finding
from evergreen.core.errors import UserError

PACKAGES = ("ray", "torch", "numpy", "pyarrow", "evergreen")
MIB = 2**20


@dataclass(frozen=True)
class Given:
    """Hold what the driver tells a machine."""

    node: str  # the machine's name
    driver: str  # the name of the machine that the run is started on
    versions: Mapping[str, str]  # there, see list_versions
    storage: str  # the folder or address that all share
    probe: str = ""  # a folder or address in it, made for this
    secret: str = ""  # what the driver wrote there
    ready: str = ""  # where the prepared rows are, "" before there are any
    fingerprint: str = ""  # of these rows
    needed_bytes: int = 0  # of storage, that a run may take
    worker_bytes: int = 0  # of memory, that a worker may take
    workers: int = 1  # on this machine
    is_cluster: bool = True


def check_node(given: Mapping[str, Any]) -> list[dict[str, str]]:
    """Run all checks of a machine; return its findings as JSON."""
    known = Given(**given)
    return [asdict(finding) for check in NODE_CHECKS for finding in check(known)]


def tell_time() -> float:
    """Return the seconds since 1970 on this machine."""
    return time.time()


def list_versions() -> dict[str, str]:
    """Return the versions on this machine that decide results or whether processes understand each other."""
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            version = metadata.version(name)
            versions[name] = version if name == "evergreen" else version.partition("+")[0]  # its own tells the commit
        except metadata.PackageNotFoundError:
            versions[name] = ""
    return versions


def check_versions(given: Given) -> Iterator[Finding]:
    """Compare the versions with the driver's."""
    own, is_right = list_versions(), True
    for name, wanted in given.versions.items():
        found = own[name]
        if name == "Python":
            found, wanted = (version.rpartition(".")[0] for version in (found, wanted))
        if found == wanted:
            continue
        is_right = False
        text = f"{name} {found} is installed" if found else f"{name} is not installed"
        fixes = {"Python": f"start its Ray with Python {wanted}", "evergreen": "install the driver's wheel there, too"}
        fix = fixes.get(name, f"pip install {name}=={wanted} there")
        yield Finding("versions", "fail", f"{given.node}: {text}, on {given.driver} it is {wanted}", fix)
    if is_right:
        yield Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in given.versions.items()))


def check_token(given: Given) -> Iterator[Finding]:
    """Check that Ray lets in nobody without the cluster's token."""
    if not given.is_cluster:
        return
    from evergreen.stages.engines.ray_internals import asks_for_token

    if asks_for_token():
        yield Finding("token", "ok", "Ray asks for the token")
    else:
        fix = "start it with RAY_AUTH_MODE=token and the token's file in RAY_AUTH_TOKEN_PATH"
        yield Finding("token", "fail", f"{given.node}: Ray takes work from anybody", fix)


def check_storage(given: Given) -> Iterator[Finding]:
    """Read what the driver wrote, write, sync and rename."""
    if is_address(given.storage):
        yield from _check_address(given)
        return
    folder, own = Path(given.probe), Path(given.probe, given.node)
    fix = f"mount the folder that {given.driver} has there on {given.node}, too"
    if not Path(given.storage).is_dir():
        yield Finding("storage", "fail", f"{given.node}: there is no {given.storage}", fix)
        return
    try:
        if (folder / "driver").read_text(encoding="utf-8") != given.secret:
            raise FileNotFoundError
    except FileNotFoundError:
        problem = f"{given.node}: {given.storage} is another folder there, what {given.driver} wrote is not in it"
        yield Finding("storage", "fail", problem, fix)
        return
    except OSError as error:
        yield Finding("storage", "fail", f"{given.node}: {given.storage} cannot be read ({error.strerror})", fix)
        return
    try:
        for temporary in (own.with_name(f"{own.name}.{turn}") for turn in (1, 2)):  # the second time it replaces a file
            with temporary.open("w", encoding="utf-8") as file:
                file.write(given.secret + given.node)
                os.fsync(file.fileno())
            temporary.replace(own)
    except OSError as error:
        problem = f"{given.node}: {given.storage} cannot be written ({error.strerror})"
        yield Finding("storage", "fail", problem, f"make it writable for who runs Ray on {given.node}")
        return
    yield Finding("storage", "ok", f"{given.storage} is read, written and renamed in")


def _check_address(given: Given) -> Iterator[Finding]:
    """Read what the driver wrote, and write."""
    from evergreen.data.object_store import ObjectStore

    try:
        probe = ObjectStore(given.probe)
        if probe.read("driver").decode() == given.secret:
            probe.put_bytes(given.node, (given.secret + given.node).encode())
            yield Finding("storage", "ok", f"{given.storage} is read and written")
            return
        problem, fix = "another system answers at this address", "give all machines one and the same endpoint"
    except UserError as error:
        problem, fix = error.problem, f"on {given.node}: {error.fix}"
    yield Finding("storage", "fail", f"{given.node}: {given.storage}: {problem}", fix)


def check_space(given: Given) -> Iterator[Finding]:
    """Compare the free space with what copies of the rows and checkpoints may take."""
    if not _is_shared(given):
        return
    place = given.storage
    if is_address(place):  # what is fetched from there lies here
        from evergreen.stages.engines.shared_storage import own_folder

        place = str(own_folder(place).parent)
    free = shutil.disk_usage(place).free
    text = f"{place} has {_size(free)} free; rows and checkpoints may take {_size(given.needed_bytes)}"
    if free >= given.needed_bytes:
        yield Finding("space", "ok", text)
    else:
        fix = "free some, or name another folder as storage in cluster.yaml"
        yield Finding("space", "fail", f"{given.node}: {text}", fix if given.is_cluster else "free some")


def check_data(given: Given) -> Iterator[Finding]:
    """Read the prepared rows and compare them with the driver's."""
    if not given.ready or not _is_shared(given):
        return
    from evergreen.stages.engines.shared_storage import fetch_folder

    try:
        found = fingerprint(fetch_folder(given.ready))
    except UserError as error:
        yield Finding("data", "fail", f"{given.node}: the prepared rows cannot be fetched: {error.problem}", error.fix)
        return
    except OSError as error:
        text = f"{given.node}: the prepared rows cannot be read ({error.strerror}: {error.filename})"
        yield Finding("data", "fail", text, f"make {given.ready} readable for who runs Ray on {given.node}")
        return
    if found == given.fingerprint:
        yield Finding("data", "ok", "the prepared rows are read, with equal hash")
    else:
        text = f"{given.node}: the prepared rows in {given.ready} are others than on {given.driver}"
        yield Finding("data", "fail", text, "delete that folder; the next run copies them anew")


def check_memory(given: Given) -> Iterator[Finding]:
    """Compare the memory with what workers may take."""
    import psutil

    memory, needed = psutil.virtual_memory(), given.workers * given.worker_bytes
    text = f"{given.workers} worker{'s' * (given.workers > 1)} may take {_size(needed)}"
    if needed > memory.total:
        fix = "lower train: {memory_mb: …} or the workers, or add a machine"
        yield Finding("memory", "fail", f"{given.node}: {text} of memory, there are {_size(memory.total)}", fix)
    elif needed > memory.available:
        problem = f"{given.node}: {text} of memory, {_size(memory.available)} are free now"
        yield Finding("memory", "warn", problem, "end what else runs there")
    else:
        yield Finding("memory", "ok", f"{text} of memory, which is free")


def fingerprint(folder: Path) -> str:
    """Hash the names, sizes, first and last MiB of all files in a folder. Raises OSError where one cannot be read."""
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in [folder, *folder.rglob("*")] if not path.is_dir()):
        size = path.stat().st_size
        total.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            total.update(file.read(MIB))
            file.seek(max(0, size - MIB))
            total.update(file.read(MIB))
    return total.hexdigest()


def _is_shared(given: Given) -> bool:
    return is_address(given.storage) or (Path(given.storage).is_dir() and Path(given.probe, "driver").is_file())


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / MIB:.0f} MiB"


NODE_CHECKS = (check_versions, check_token, check_storage, check_space, check_data, check_memory)
