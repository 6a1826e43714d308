"""Forget a row: leave it out from now on, remove what is stored of it and needed by no version, and name the rest."""

import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock
from evergreen.core.progress import Progress, no_progress
from evergreen.data.object_store import ObjectStore
from evergreen.flows.lineage import trace_row
from evergreen.flows.update import update
from evergreen.stages.collect.forgotten import find_marked, find_rows, mark_forgotten, read_forgotten
from evergreen.stages.collect.stage import open_collected
from evergreen.stages.engines import cluster_file, storage_budget, versions
from evergreen.stages.engines.dvc_unreferenced import remove_holders
from evergreen.stages.forgotten_requests import remove_requests
from evergreen.stages.pipeline import Pipeline

COPIES = ("collect/NAME", "preprocess/NAME", "rejected/NAME", "examples/NAME", "monitor/NAME/*/")  # of rows; made anew


@dataclass
class Forgetting:
    """Hold what became of a row that is to be forgotten."""

    n_rows: int  # that collect leaves out from now on, which are in the newest collection
    n_requests: int = 0  # removed from the request log
    n_logged: int = 0  # in a journal that the endpoint is writing
    objects: list[str] = field(default_factory=list)  # removed from DVC's cache and remote
    versions: list[dict[str, Any]] = field(default_factory=list)  # that still hold it
    released: str = ""  # the version in service
    run: dict[str, Any] | None = None  # what the training brought


def find_forgettable(pipeline: Pipeline, paths: Paths, origin: str) -> pa.Table:
    """Return the collected rows of an origin; where they were marked before, those that the source still has.

    Raises DataError where there never were any.
    """
    rows = find_rows(paths, origin)
    marked = [row for row in read_forgotten(paths) if row["origin"] == origin]
    if not len(rows) and not marked:
        fix = f"evergreen trace --row {origin!r} names versions that held it"
        raise DataError(f"no collected row of {paths.name} is {origin!r}", fix=fix)
    with suppress(DataError):  # a source that is gone: the rest is done all the same
        return rows if len(rows) else find_marked(open_collected(pipeline.collect, paths.root), marked)
    return rows


def forget_row(
    pipeline: Pipeline, paths: Paths, origin: str, progress: Progress = no_progress, *, trains: bool = True
) -> Forgetting:
    """Forget the rows of an origin; killed at any moment, it is called again.

    What is stored of it elsewhere goes before it is marked, for then nothing knows its values any more. Without
    `trains`, what the newest candidate was made of stays until a run and another call.
    """
    with exclusive_lock(paths.run_lock, f"{paths.name} is already running"):
        rows = find_forgettable(pipeline, paths, origin)
        done = Forgetting(len(rows))
        if len(rows):
            keys = pipeline.collect.id_columns
            done.n_requests, done.n_logged = remove_requests(paths.requests, rows, keys[0] if len(keys) == 1 else "")
            mark_forgotten(paths, origin, rows, keys)
        for copy in chain.from_iterable(paths.home.glob(one.replace("NAME", paths.name)) for one in COPIES):
            shutil.rmtree(copy, ignore_errors=True)
    if trains:
        done.run = update(paths.root, paths.name, progress)
    done.objects = remove_holders(paths.root, origin)
    _remove_shared(paths)
    done.released = versions.released(paths.root).get(paths.name, "")
    done.versions = [one for one in trace_row(paths, origin) if one["splits"]]
    return done


def _remove_shared(paths: Paths) -> None:
    """Remove copies of prepared rows from the storage of `cluster.yaml` that nothing uses; a run makes its own anew."""
    storage = cluster_file.read(paths.root).storage
    for place in storage_budget.list_places(paths.root):
        if place.name.startswith(f"ready/{paths.name}/") and not place.is_held:
            ObjectStore(storage).remove_folder(place.name)
