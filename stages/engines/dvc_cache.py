"""Copy DVC's stored bytes to the remote, and bring them back by their hash from the cache or the remote."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.core.errors import VersionError
from evergreen.core.files import atomic_write, read_text
from evergreen.core.paths import Paths
from evergreen.stages.engines.candidates import find_out, stage_entry
from evergreen.stages.engines.dvc_graph import graph_file
from evergreen.stages.engines.dvc_served import served_file
from evergreen.stages.engines.dvc_stages import open_repo, stage_target

if TYPE_CHECKING:
    from dvc.repo import Repo


def push(paths: Paths) -> bool:
    """Copy the pipeline's outs to the default remote; return False where none is set."""
    from evergreen.stages.pipeline import STAGES

    with open_repo(paths.root) as repo:
        if not repo.config["core"].get("remote"):
            return False
        targets = [stage_target(paths.root, stage, paths.name) for stage in STAGES]
        served = served_file(paths.name)
        repo.push(targets=[*targets, *([served] if (paths.root / served).is_file() else [])])
    return True


def folder_md5(folder: Path) -> str:
    """Return what DVC would call this folder: the hash of the list of its files' hashes, with the ending .dir."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = [{"md5": _md5(path), "relpath": path.relative_to(folder).as_posix()} for path in files]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def export_folder(root: Path, oid: str, folder: Path) -> None:
    """Copy a folder known by its hash from DVC's cache into `folder`, or from the remote where the cache lacks it.

    Raises VersionError when neither has it whole.
    """
    for path, source in cached_files(root, oid):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def cached_files(root: Path, oid: str) -> Iterator[tuple[str, Path]]:
    """Yield each file of a folder known by its hash: its path in the folder, and where DVC's cache has it.

    Raises VersionError when neither the cache nor the remote has it.
    """
    with open_repo(root) as repo:
        for entry in json.loads(_object(repo, oid).read_bytes()):
            yield entry["relpath"], _object(repo, entry["md5"])


def export_file(root: Path, oid: str, target: Path) -> None:
    """Copy a file known by its hash as `export_folder` does, whole or not at all."""
    with open_repo(root) as repo, atomic_write(target) as temporary:
        shutil.copyfile(_object(repo, oid), temporary)


def export_out(paths: Paths, stage: str, out: Path, folder: Path) -> bool:
    """Copy a folder that dvc.lock records as an out of a stage into `folder`; return False where it records none.

    Raises VersionError when neither DVC's cache nor the remote has it whole.
    """
    lock = paths.root / graph_file(paths.root, "dvc.lock")
    entry = stage_entry(read_text(lock), stage, paths.name) if lock.is_file() else ""
    oid = find_out(entry, paths, stage, out)
    if oid:
        export_folder(paths.root, oid, folder)
    return bool(oid)


def _object(repo: Repo, oid: str) -> Path:
    """Return the cached file of this hash, verified; a broken one is thrown away and fetched again."""
    from dvc.exceptions import DvcException
    from dvc_data.hashfile.hash_info import HashInfo

    path, want = Path(repo.cache.local.oid_to_path(oid)), oid.removesuffix(".dir")
    if path.is_file() and _md5(path) == want:
        return path
    path.unlink(missing_ok=True)
    why = "no remote is set"
    if repo.config["core"].get("remote"):
        why = "the remote does not have it"
        try:
            repo.cloud.pull([HashInfo("md5", oid)])
        except (DvcException, OSError) as error:
            why = f"the remote failed: {' '.join(str(error).split())}"
    if path.is_file() and _md5(path) == want:
        return path
    fix = "set the remote that has it with `dvc remote add -d NAME URL`, or `dvc push` it from the machine that made it"
    raise VersionError(f"the bytes {oid} are not in DVC's cache, and {why}", place=".dvc/cache", fix=fix)
