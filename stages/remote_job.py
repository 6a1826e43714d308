"""Run the stage that a machine outside of the cluster ordered (remote_stage.py), as a job of Ray's."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from evergreen.core.errors import UserError
from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.data.object_store import ObjectStore
from evergreen.stages.engines import cluster_file, storage_budget
from evergreen.stages.engines.shared_storage import Mirror, fetch_folder
from evergreen.stages.pipeline import perform, read
from evergreen.stages.remote_stage import JOB, MADE, MARK, MISTAKE, RESULT


def main() -> None:
    """Run the stage that the working directory says, on the cluster, and store what it made."""
    root = Path.cwd()
    job = read_json(root / JOB)
    paths, store = Paths(root, job["name"]), ObjectStore(job["results"])
    write_json(root / "cluster.yaml", read_json(root / "cluster.yaml") | {"address": os.environ["RAY_ADDRESS"]})
    storage_budget.hold(cluster_file.read(root).storage, "jobs", paths.name)
    for old in (RESULT, MISTAKE):
        store.remove(old)
    try:
        paths.ready.parent.mkdir(parents=True)
        paths.ready.symlink_to(fetch_folder(job["ready"]))
        with Mirror(paths.trials.parent, job["results"]).keep():  # what a job that is ended had found, another goes on
            returned = perform(job["stage"], read(job["name"], root), paths, _tell)
    except UserError as error:
        known = {"kind": type(error).__name__, "problem": error.problem, "place": error.place, "fix": error.fix}
        store.put_bytes(MISTAKE, json.dumps(known).encode())
        sys.exit(str(error))
    made: dict[str, list[str]] = {}  # what → its files; [""] is one file itself
    for what in MADE[job["stage"]]:
        place: Path = getattr(paths, what)
        if place.is_file():
            store.put(what, place)
            made[what] = [""]
        elif place.is_dir():
            files = {str(file.relative_to(place)): file for file in place.rglob("*") if file.is_file()}
            store.put_all({f"{what}/{name}": file for name, file in files.items()})
            made[what] = sorted(files)
    store.put_bytes(RESULT, json.dumps({"made": made, "returned": returned}, default=str).encode())


def _tell(**facts: Any) -> None:
    print(MARK + json.dumps(facts, default=str), flush=True)


if __name__ == "__main__":
    main()
