"""Run a stage as a job on a cluster that this machine is no part of, a laptop say: `jobs` of `cluster.yaml`.

The job gets the pipeline's YAML, the project's own parts, the choice and the ledgers; the prepared rows go through the
cluster's storage, and so do the results back. Its name is a hash of all that, so whoever asks for the same again, after
the lid was closed, attaches to it. On the cluster remote_job.py is the job.
"""

import hashlib
import json
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core import errors, parts
from evergreen.core.addresses import is_address, join
from evergreen.core.errors import OutageError, PipelineError
from evergreen.core.files import atomic_directory, write_json, write_text
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress
from evergreen.data.object_store import ObjectStore
from evergreen.data.spec import FeatureSpec
from evergreen.stages.engines import cluster_file, ray_jobs, storage_budget
from evergreen.stages.engines.shared_storage import share_folder

if TYPE_CHECKING:
    from evergreen.stages.pipeline import Pipeline

COMMAND = "python -m evergreen.stages.remote_job"
JOB, RESULT, MISTAKE = "job.json", "result.json", "mistake.json"
SENT = {
    "select": ("pipeline", "races"),
    "tune": ("pipeline", "select", "trials"),
    "train": ("pipeline", "select", "tune"),
}
MADE = {"select": ("select", "races"), "tune": ("tune", "trials"), "train": ("candidate",)}
MARK = "evergreen: "  # before a line of progress


def run_remotely(stage: str, pipeline: "Pipeline", paths: Paths, progress: Progress) -> dict[str, Any]:
    """Run a stage on the cluster, or attach to its job; return what the stage returned there.

    Raises PipelineError for what cannot be sent, OutageError where the job or the cluster fails, and the mistakes that
    the stage itself found.
    """
    from evergreen.stages.artifacts import folder_version

    if pipeline.train.init_from and stage == "train":
        fix = "run it on a machine of the cluster, or leave init_from out"
        raise PipelineError("released weights are not sent to a cluster yet", place="train.init_from", fix=fix)
    FeatureSpec.load(paths.ready)  # raises where nothing is prepared
    cluster = cluster_file.read(paths.root)
    storage_budget.hold(cluster.storage, "jobs", paths.name)
    rows = folder_version(paths.ready)
    ready = share_folder(paths.root, paths.ready, "ready", paths.name, rows)
    with tempfile.TemporaryDirectory(prefix="job-") as temporary:
        folder = Path(temporary)
        _pack(folder, paths, stage)
        key = hashlib.blake2b(f"{stage} {rows} {folder_version(folder)}".encode(), digest_size=8).hexdigest()
        place = ("jobs", paths.name, key)
        results = join(cluster.storage, *place) if is_address(cluster.storage) else str(Path(cluster.storage, *place))
        write_json(folder / JOB, {"stage": stage, "name": paths.name, "ready": ready, "results": results})
        client = ray_jobs.open_client(cluster.jobs)
        about = {"project": f"{socket.gethostname()}:{paths.root.resolve()}", "pipeline": paths.name}
        name = f"evergreen-{paths.name}-{stage}-{key}"
        is_kept = ObjectStore(results).has(RESULT)
        if not ray_jobs.start(client, name, COMMAND, folder, about, is_kept=is_kept):
            print(f"evergreen: attached to the job {name}", file=sys.stderr, flush=True)
        problem = ray_jobs.follow(client, name, _forward(progress))
    return _collect(ObjectStore(results), paths, problem, name)


def _forward(progress: Progress) -> Callable[[str], None]:
    def hear(line: str) -> None:
        if line.startswith(MARK):
            with suppress(ValueError):  # half a line
                progress(**json.loads(line.removeprefix(MARK)))

    return hear


def _pack(folder: Path, paths: Paths, stage: str) -> None:
    """Copy what a job needs of the project, the prepared rows aside."""
    there = Paths(folder, paths.name)
    for what in SENT[stage]:
        if (source := getattr(paths, what)).is_file():
            target = getattr(there, what)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for part, text in parts.project_texts().items():
        group, _, name = part.partition("/")
        write_text(folder / parts.FOLDERS[group] / f"{name}.py", text)
    cluster = cluster_file.read(paths.root)
    write_json(folder / "cluster.yaml", {"storage": cluster.storage, "storage_gb": cluster.storage_gb})


def _collect(store: ObjectStore, paths: Paths, problem: str, name: str) -> dict[str, Any]:
    """Bring what a job has made into the project; return what its stage returned."""
    if problem and store.has(MISTAKE):
        known = json.loads(store.read(MISTAKE))
        raise getattr(errors, known.pop("kind"), PipelineError)(**known)
    if problem:
        raise OutageError(f"the job {name} failed ({problem})", fix="run it again; ray job logs tells more")
    result: dict[str, Any] = json.loads(store.read(RESULT))
    for what, files in result["made"].items():
        target: Path = getattr(paths, what)
        if files == [""]:
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get(what, target)
            continue
        with atomic_directory(target) as new:
            store.get_all({f"{what}/{file}": new / file for file in files})
    returned: dict[str, Any] = result["returned"]
    return returned
