"""Put what workers need where all machines of a cluster see it; on one machine it stays where it is."""

import shutil
from pathlib import Path

from evergreen.core.files import atomic_directory
from evergreen.stages.engines import cluster_file


def share_folder(root: Path, folder: Path, *place: str) -> str:
    """Return where workers find `folder`: itself, or its copy at `place` in the cluster's storage, made once."""
    storage = cluster_file.read(root).storage
    if not storage:
        return str(folder.resolve())
    shared = Path(storage).joinpath(*place)
    if not shared.exists():
        with atomic_directory(shared) as new:
            shutil.copytree(folder, new, dirs_exist_ok=True)
    return str(shared)


def scratch_folder(root: Path, own: Path, *place: str) -> Path:
    """Return a folder that all workers may write to: `own`, or `place` in the cluster's storage."""
    storage = cluster_file.read(root).storage
    return Path(storage).joinpath(*place) if storage else own.resolve()
