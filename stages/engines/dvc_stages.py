"""Ask DVC what is stale and why, and record what a stage made.

Each call opens the repository anew, so it sees what anybody changed in between: dvc.yaml, dvc.lock, a YAML. Asking
takes none of DVC's locks: another `dvc` command may be at work. Paths inside DVC resolve against the working directory,
so a call made elsewhere changes into the project and back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import VersionError
from evergreen.core.files import read_text, write_text
from evergreen.core.gc_tuning import infrequent_gc
from evergreen.core.paths import Paths
from evergreen.stages.engines.dvc_code import version_file, write_code_versions
from evergreen.stages.engines.dvc_graph import (
    BROKEN_LOCK,
    graph_file,
    register_pipeline,
    registered_pipelines,
    replace_entry,
)
from evergreen.stages.engines.dvc_memory import UP_TO_DATE, recall, remember, state_hash
from evergreen.stages.engines.dvc_reasons import Files, compare
from evergreen.stages.engines.dvc_state import prepare
from evergreen.stages.engines.dvc_upgrade import has_older_records, upgrade_records
from evergreen.stages.pipeline import STAGES, Pipeline, read

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

HEAD = "schema: '2.0'\nstages:\n"  # of dvc.lock
PATIENCE_SECONDS = 60.0  # how long to wait for another DVC process on the same files


@contextlib.contextmanager
def open_repo(root: Path, state: str = "") -> Iterator[Repo]:
    """Open DVC's repository from inside the project; what DVC finds wrong becomes a VersionError.

    DVC keeps its state in the folder `state`, or else in the project, which is prepared for it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # its progress bars show up to ERROR
    if not state:
        prepare(root)
    with contextlib.chdir(root):
        try:
            with Repo(str(root), config={"core": {"site_cache_dir": state}} if state else None) as repo:
                if not repo.config["core"].get("checksum_jobs"):  # DVC's own guess is half of the cores
                    repo.fs.hash_jobs = os.cpu_count() or 1
                yield repo
        except DvcException as error:
            raise _explain_error(error) from error
        except UnicodeDecodeError as error:
            fix = "look at .dvcignore, .dvc/config and .dvc/config.local"
            raise VersionError(f"a file of DVC's is no UTF-8 text ({error.reason})", place="dvc", fix=fix) from error


def _explain_error(error: Exception) -> VersionError:
    from dvc.lock import LockError

    text = " ".join(str(error).split())
    if isinstance(error, LockError):
        return VersionError(f"another DVC process is at work ({text})", place="dvc", fix="wait until it has ended")
    if "dvc.lock" in text:
        return VersionError(f"cannot be read ({text})", place="dvc.lock", fix=BROKEN_LOCK)
    if "not found inside" in text:
        fix = "remove that dvc.yaml, and then write it anew with `evergreen init`"
        return VersionError(f"another release of Evergreen wrote the graph ({text})", place="dvc", fix=fix)
    return VersionError(text, place="dvc", fix="`dvc status` shows what DVC sees")


def stage_target(root: Path, stage: str, name: str) -> str:
    """Return how DVC's commands call a stage of a pipeline."""
    graph = graph_file(root, "dvc.yaml")
    return f"{stage}@{name}" if graph == "dvc.yaml" else f"{graph}:{stage}@{name}"


def _stages(repo: Repo, root: Path) -> Mapping[str, Stage]:
    """Return the stages by name, such as "train@digits"; dvc.yaml and dvc.lock are read once."""
    from dvc.dvcfile import load_file

    stages: Mapping[str, Stage] = load_file(repo, graph_file(root, "dvc.yaml")).stages
    return stages


def check_graph(root: Path) -> None:
    """Let DVC read the graph and its first pipeline, and write nothing. Raises VersionError where it cannot."""
    names = [name for name in registered_pipelines(root) if Paths(root, name).pipeline.is_file()]
    with tempfile.TemporaryDirectory() as state, open_repo(root, state) as repo:
        stages = _stages(repo, root)
        for target in (f"{stage}@{name}" for name in names[:1] for stage in STAGES):
            stages[target]


def stale_reasons(
    root: Path, pipelines: Sequence[Pipeline], stages: Sequence[str] = STAGES
) -> dict[str, dict[str, str]]:
    """Say of each pipeline which of its stages must run, and why; {} where nothing is stale."""
    reasons: dict[str, dict[str, str]] = {pipeline.name: dict.fromkeys(stages, "never run") for pipeline in pipelines}
    reasons |= {pipeline.name: {} for pipeline in _known_to_dvc(root, pipelines)}
    known = [Paths(root, name) for name, stale in reasons.items() if not stale]
    states = {paths.name: state for paths, state in zip(known, _states(root, known), strict=True)}
    changed = [paths for paths in known if recall(paths).get(UP_TO_DATE) != states[paths.name]]
    if changed:
        with open_repo(root) as repo:
            records, files = _stages(repo, root), Files(root)
            for paths in changed:
                told = ((one, compare(records[f"{one}@{paths.name}"], paths, one, files)) for one in stages)
                reasons[paths.name] = {stage: reason for stage, reason in told if reason}
                if len(stages) == len(STAGES) and not reasons[paths.name]:
                    remember(paths, UP_TO_DATE, states[paths.name])
    return reasons


def _states(root: Path, pipelines: Sequence[Paths]) -> list[str]:
    """Return the state of each pipeline's files: where one has not changed, neither has DVC's answer."""
    files = [root / graph_file(root, name) for name in ("dvc.yaml", "dvc.lock")]
    graph, lock = (read_text(file) if file.is_file() else "" for file in files)
    return [state_hash(paths, graph, lock) for paths in pipelines]


def _known_to_dvc(root: Path, pipelines: Sequence[Pipeline]) -> list[Pipeline]:
    """Return the pipelines that DVC knows, after bringing up to date all that it reads of them."""
    lock = root / graph_file(root, "dvc.lock")
    text = read_text(lock) if lock.is_file() else ""
    names = set(re.findall(r"^  \w+@(.+):$", text, re.MULTILINE))
    registered = registered_pipelines(root)
    known = [one for one in pipelines if one.name in names or one.name in registered]
    for pipeline in known:
        paths = Paths(root, pipeline.name)
        if pipeline.name not in registered:
            register_pipeline(paths)
        write_code_versions(pipeline, paths)
    if has_older_records(text):
        from dvc.repo import lock_repo

        with contextlib.suppress(VersionError), open_repo(root) as repo, lock_repo(repo):
            write_text(lock, upgrade_records(read_text(lock), root, known))
    return known


def stale_reason(pipeline: Pipeline, paths: Paths, stage: str) -> str | None:
    """Say why the stage must run; None when what it made is up to date with everything it depends on."""
    return stale_reasons(paths.root, [pipeline], [stage])[paths.name].get(stage)


def is_up_to_date(pipeline: Pipeline, paths: Paths) -> bool:
    """Tell whether nothing is stale in the whole pipeline."""
    return not stale_reasons(paths.root, [pipeline])[paths.name]


@infrequent_gc()
def commit(paths: Paths, stage: str) -> None:
    """Record in dvc.lock and DVC's cache what the stage has made, as `dvc repro` would have.

    Waits while another DVC process holds the files, for at most PATIENCE_SECONDS.
    """
    from dvc.lock import LockError

    register_pipeline(paths)
    write_code_versions(read(paths.name, paths.root), paths, after=stage)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with open_repo(paths.root) as repo:
                entry = _stages(repo, paths.root)[f"{stage}@{paths.name}"]
                _record(repo, entry, paths.root / graph_file(paths.root, "dvc.lock"))
            return remember(paths, stage, read_text(version_file(paths, stage)))
        except VersionError as error:
            if not isinstance(error.__cause__, LockError) or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _record(repo: Repo, stage: Stage, lock: Path) -> None:
    """Do what `repo.commit` does, which would write all of dvc.lock; one that holds more than stages is left to it."""
    from dvc.repo import lock_repo
    from dvc.stage.serialize import to_lockfile

    with lock_repo(repo):
        text = read_text(lock) if lock.is_file() else HEAD
        if re.search(r"^\S", text.removeprefix(HEAD), re.MULTILINE):
            repo.commit(stage.addressing, force=True, relink=False)
            return
        stage.save()
        stage.commit(relink=False)
        write_text(lock, replace_entry(text, stage.name, _shorten(to_lockfile(stage)[stage.name])))


def _shorten(record: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a hash says as well and DVC never compares: sizes of inputs, and how many files a folder holds."""
    for dep in record.get("deps", []):
        dep.pop("size", None)
    for file in (*record.get("deps", []), *record.get("outs", [])):
        file.pop("nfiles", None)
    return record
