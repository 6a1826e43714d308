"""Bring a pipeline up to date and show that what is released answers."""

import importlib
import logging
from pathlib import Path
from typing import Any

from evergreen.core.errors import OutageError, PipelineError, VersionError
from evergreen.core.paths import Paths
from evergreen.core.processes import load_live, lock_owner, was_killed
from evergreen.core.progress import Progress
from evergreen.flows import format
from evergreen.flows.approval import is_released_by_verdict, waits_for_person
from evergreen.flows.run_events import recorded_run
from evergreen.stages.metrics import read_metrics
from evergreen.stages.pipeline import Pipeline, read


def update(root: Path, name: str, progress: Progress, *, baseline_only: bool = False) -> dict[str, Any]:
    """Run the lifecycle under Prefect if anything is stale, else say so before Prefect is even imported.

    With `baseline_only` the candidate is not compared with the released version, and nothing is released or served.

    Raises:
        VersionError: the released version, with which validate compares, is nowhere; told before any work.
    """
    from evergreen.stages.engines import versions

    pipeline = read(name, root)
    name, paths = pipeline.name, Paths(root, pipeline.name)
    versions.prepare(root)
    if name in versions.retired(root):
        back = f"evergreen rollback {name} {versions.last_released(paths)}"
        raise PipelineError(f"{name} is retired", fix=f"bring it back with: {back}")
    if process := lock_owner(paths.run_lock):
        fix = "wait until it has ended, or end it"
        raise PipelineError(f"{pipeline.name} is already running (process {process})", fix=fix)
    stale = not is_up_to_date(pipeline, paths) or was_killed(paths.run_lock)  # a killed run counts as running
    if stale:
        if not baseline_only:
            fetch_released(paths)
        call_flow(paths, "lifecycle:lifecycle", progress, baseline_only, attempts=2)
    else:
        with recorded_run(paths, "by hand") as write:
            write(summary="nothing is stale")
    return describe_result(pipeline, paths, progress, serve=not baseline_only) | {"ran": stale}


def fetch_released(paths: Paths) -> None:
    """Fetch the version in service, so that a run does not fail behind the training. Raises VersionError."""
    from evergreen.stages.engines import versions

    if not (version := versions.released(paths.root).get(paths.name)):
        return
    try:
        versions.checkout(paths, version)
    except VersionError as error:
        fix = f"{error.fix}; or compare with the baseline alone: evergreen run {paths.name} --baseline-only"
        raise VersionError(error.problem, place=error.place, fix=fix) from None


def is_up_to_date(pipeline: Pipeline, paths: Paths) -> bool:
    """Tell whether no stage is stale, the source is as it was, and a candidate that proved better is released."""
    from evergreen.stages.collect import stage as collect
    from evergreen.stages.engines import versions

    if not versions.is_up_to_date(pipeline, paths) or collect.has_changed(pipeline.collect, paths):
        return False
    if not is_released_by_verdict(pipeline, paths, read_metrics(paths)):
        return True
    return versions.candidate_version(paths) is not None  # else a run was ended right before its release


def call_flow(paths: Paths, flow: str, progress: Progress, *arguments: Any, attempts: int = 1) -> Any:
    """Call a flow, "module:function", under the project's Prefect server; Ray starts while the server does.

    Raises:
        OutageError: the server died, in each of the `attempts`.
    """
    from evergreen.flows.server import Server
    from evergreen.stages.engines import ray_cluster

    server, (module, _, function) = Server(paths.root), flow.partition(":")
    for attempt in range(1, attempts + 1):
        server.start()
        progress(stage="start", engines="Ray and Prefect")
        ray_cluster.connect(paths.root)
        url, record = server.wait(), load_live(server.file)
        from evergreen.flows.steps import with_progress

        logging.raiseExceptions = False  # a line that Prefect's server did not get is not worth one on the screen
        try:
            with server.kept_up(), with_progress(paths.name, progress):
                return getattr(importlib.import_module(f"evergreen.flows.{module}"), function)(paths.name, *arguments)
        except Exception:
            if record == load_live(server.file):
                raise
        server.start()
        if server.url != url or attempt == attempts:  # Prefect's clients in this process keep their address
            break
    fix = "run it again: what was finished is kept"
    raise OutageError("Prefect's server died", place=str(server.log), fix=fix)


def describe_result(pipeline: Pipeline, paths: Paths, progress: Progress, *, serve: bool = True) -> dict[str, Any]:
    """Describe what is released, after serving it and asking it for one real prediction."""
    from evergreen.flows import serving
    from evergreen.flows.server import Server
    from evergreen.stages.deploy import stage as deploy
    from evergreen.stages.engines import decisions, versions

    released = versions.released(paths.root)
    metrics = read_metrics(paths)
    value = {
        "pipeline": pipeline.name,
        "version": released.get(pipeline.name),
        "candidate": versions.candidate_version(paths),
        "verdict": metrics["verdict"],
        "why": metrics["why"],
        "waits": bool(case := waits_for_person(pipeline, paths, metrics)),
        "case": case,
        "rejected": decisions.rejection(paths),
        "test": metrics["test"],
        "scores": format.format_scores(metrics),
        "report": str(paths.report / "report.html"),
        "data": str(paths.described / "report.html"),
        "runs": Server(paths.root).url,
    }
    if pipeline.name not in released or not serve:
        return value
    if serving.served_versions(paths.root).get(pipeline.name) != released[pipeline.name]:
        progress(stage="deploy")
        serving.deploy_released(paths.root, progress, pipeline.name)
    url = deploy.status(paths.root)["url"]  # type: ignore[index]  # deployed above
    row = serving.example_request(paths)
    answer = serving.ask(url, paths, row)
    return value | {"url": url, "answer": answer, "curl": serving.curl_command(url, paths, row)}
