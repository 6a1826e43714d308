"""`evergreen du`: what of a project takes how much room, and what makes it smaller."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult

PLACES = {  # pattern in the project → what it is, and what makes it smaller
    ".dvc/cache": (
        "data and models of every run",
        "housekeeping.yaml: {cache_days: …}, for what no branch or tag needs",
    ),
    "data/store/*": ("collected and prepared rows", ""),
    "models/store/*": ("the last candidate and its reports", ""),
    ".evergreen/released": ("released models, as they are served", "it is made anew from DVC where it is missing"),
    ".evergreen/requests/*": ("request log", "deploy: {log: {days: …, max_bytes: …, sample: …}}"),
    ".evergreen/monitor": ("findings about requests, and what they are compared with", ""),
    ".evergreen/runs/*": ("checkpoints", "housekeeping.yaml: {runs_days: …}, train: {storage_bytes: …}"),
    ".evergreen/trials": ("ledgers of races and searches", ""),
    ".evergreen/history": ("records of runs; the newest 500 of a pipeline stay", ""),
    ".evergreen/prefect": ("Prefect's record; runs of the last 90 days stay", "housekeeping.yaml: {prefect_days: …}"),
    ".evergreen/ray": ("Ray's sessions and logs", "evergreen stop, then remove it"),
    ".git": ("history of the repository", ""),
}


def du(
    clean: Annotated[bool, typer.Option("--clean", help="Remove what is old or too much, as watch does.")] = False,
) -> CommandResult:
    """Tell what takes how much room, the largest first.

    With a cluster.yaml, also what lies in its storage. What --clean removes, housekeeping.yaml says; what a release, a
    canary, a pin or a waiting candidate needs stays.
    """
    from evergreen.core.paths import find_root

    root, counted = find_root(), set[int]()
    freed = _clean(root) if clean else {}
    places: list[dict[str, Any]] = [
        {"path": path.relative_to(root).as_posix(), "bytes": size, "what": what, "fix": fix}
        for pattern, (what, fix) in PLACES.items()
        for path in sorted(root.glob(pattern))
        if (size := sum(_new_sizes(path, counted)))
    ]
    places += _stored(root)
    places.sort(key=lambda place: -place["bytes"])
    lines = [f"{one['bytes'] / 1e6:>11,.1f} MB  {one['path']:<32}  {one['what']}" for one in places]
    fixes = dict.fromkeys(f"{one['path']}: {one['fix']}" for one in places[:3] if one["fix"])
    told = [f"{n_bytes / 1e6:>11,.1f} MB  freed of {what}" for what, n_bytes in freed.items()]
    value = {"places": places} | ({"freed": freed} if clean else {})
    return CommandResult(value, "\n".join([*told, *lines, *fixes]))


def _clean(root: Path) -> dict[str, int]:
    from evergreen.flows.housekeeping import clean
    from evergreen.stages.engines import versions
    from evergreen.stages.housekeeping_config import read_housekeeping

    config = read_housekeeping(root)
    versions.prepare(root)
    return clean(root, config)


def _stored(root: Path) -> Iterator[dict[str, Any]]:
    """Yield what lies in the storage of `cluster.yaml`."""
    from evergreen.core.errors import DataError
    from evergreen.stages.engines import cluster_file, storage_budget

    cluster = cluster_file.read(root)
    fix = f"cluster.yaml: {{storage_gb: {cluster.storage_gb:g}}}; what was longest not used goes first"
    try:
        for place in storage_budget.list_places(root):
            held = ", in use" if place.is_held else ""
            yield {"path": f"storage/{place.name}", "bytes": place.size, "what": place.what + held, "fix": fix}
    except DataError as error:
        yield {"path": "storage", "bytes": 0, "what": error.problem, "fix": error.fix}


def _new_sizes(folder: Path, counted: set[int]) -> Iterator[int]:
    """Yield the sizes of files that were not counted yet: DVC links its cache and the stores."""
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except OSError:  # it went meanwhile
            continue
        if path.is_file() and not path.is_symlink() and found.st_ino not in counted:
            counted.add(found.st_ino)
            yield found.st_blocks * 512
