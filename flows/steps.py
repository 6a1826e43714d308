"""Run the stages as Prefect's steps: skip what is up to date, run the rest in this process, record it in DVC."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect import Task, tags, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import get_run_context
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)
from prefect.states import Completed

from evergreen.core import processes
from evergreen.core.errors import BusyError, OutageError, PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths, find_root
from evergreen.core.progress import Progress, no_progress
from evergreen.flows import format, server
from evergreen.flows.approval import ask_for_word, is_released_by_verdict, waits_for_person
from evergreen.flows.retraining import BY_HAND
from evergreen.flows.run_events import recorded_run
from evergreen.flows.run_log import Write
from evergreen.flows.serving import deploy_released, served_versions
from evergreen.stages import pipeline
from evergreen.stages.deploy.export import choose_engine
from evergreen.stages.engines import decisions, versions
from evergreen.stages.metrics import read_metrics
from evergreen.stages.pipeline import STAGES, Pipeline, perform

PROGRESS: ContextVar[Progress] = ContextVar("PROGRESS", default=no_progress)  # Prefect's parameters must be JSON
RETRY_SECONDS = [5, 30]  # between the attempts of a step


class OverlapError(PipelineError):
    """Report that a pipeline is being run already."""


@dataclass
class Run:
    """Hold one pipeline that is being brought up to date, and what its steps reported."""

    pipeline: Pipeline
    paths: Paths
    progress: Progress
    baseline_only: bool = False  # whether the released version is left out, so that nothing is released or served
    record: Write = no_progress  # facts into the file of the run
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)


@contextmanager
def locked_run(name: str, *, baseline_only: bool = False, trigger: str = BY_HAND) -> Iterator[Run]:
    """Yield a run of the pipeline, whose lock it holds; it is recorded, and people hear how it ended.

    Raises:
        OverlapError: another process runs it.
    """
    root = find_root()
    paths = Paths(root, name)
    with ExitStack() as stack:
        try:
            stack.enter_context(processes.exclusive_lock(paths.run_lock, f"{name} is already running"))
        except BusyError as error:
            raise OverlapError(error.problem, fix=error.fix) from None
        server.mark_abandoned_crashed(name, keep=get_run_context().flow_run.id)  # type: ignore[union-attr]
        write, show = stack.enter_context(recorded_run(paths, trigger)), PROGRESS.get()

        def progress(**facts: Any) -> None:
            if "summary" in facts:
                write(**facts)
            show(**facts)

        yield Run(pipeline.read(name, root), paths, progress, baseline_only, write)


@contextmanager
def with_progress(name: str, progress: Progress) -> Iterator[None]:
    """Tag the flows called inside with the pipeline's name, and report what they do to `progress`."""
    token = PROGRESS.set(progress)
    try:
        # with a heartbeat, a synchronous flow waits a second at its end for the heartbeat's thread;
        # a server that was started again may have another address than when Prefect was imported
        current = {setting: os.environ.get(setting.name) for setting in (PREFECT_API_URL, PREFECT_API_AUTH_STRING)}
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, **current}), tags(name):
            yield
    finally:
        PROGRESS.reset(token)


def is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Tell whether a retry may help: it does after an outage, not after a mistake or a bug."""
    return isinstance(state.result(raise_on_failure=False), ConnectionError | TimeoutError)


def prefect_step(work: Callable[[Run], dict[str, Any] | None]) -> Task[[Run], Any]:
    """Make a Prefect step of a function of a Run, under its name; it returns None when there was nothing to do."""
    name = work.__name__

    def recorded(run: Run) -> Any:
        try:
            result = work(run)
        except OutageError as error:
            attempt = get_run_context().task_run.run_count - 1  # type: ignore[union-attr]
            if attempt < len(RETRY_SECONDS):
                versions.print_note(f"{name}: {error.problem}; it is tried again in {RETRY_SECONDS[attempt]} s")
            raise
        if result is None:
            run.progress(stage=name, summary="up to date")
            return Completed(name="Skipped", message="nothing it depends on has changed")
        run.summaries[name] = result
        return Completed(message=result["summary"])

    again = {"retries": len(RETRY_SECONDS), "retry_delay_seconds": RETRY_SECONDS}
    return task(name=name, cache_policy=NO_CACHE, retry_condition_fn=is_transient, **again)(recorded)


def dvc_stage(name: str) -> Task[[Run], Any]:
    """Make the step of one of DVC's stages."""

    def work(run: Run) -> dict[str, Any] | None:
        if format.stale_reason(run.pipeline, run.paths, name) is None:
            return None
        is_partial = name == "validate" and run.baseline_only
        summary = perform(name, run.pipeline, run.paths, run.progress, **{"baseline_only": True} if is_partial else {})
        if not is_partial:  # else it stays stale, so that the next run compares with the released version
            versions.commit(run.paths, name)
        publish(name, run.paths)
        return summary

    work.__name__ = name
    return prefect_step(work)


collect, preprocess, select, tune, train, validate, report = (dvc_stage(name) for name in STAGES)


def release_candidate(run: Run, message: str, *, again: bool = False) -> str:
    """Release the recorded candidate, whose engine is chosen before; return the version."""
    choose = partial(choose_engine, run.pipeline.deploy, run.paths)
    return versions.release(run.paths, message, again=again, choose_engine=choose)


@prefect_step
def release(run: Run) -> dict[str, Any] | None:
    """Put a candidate that proved better into production; leave another one a candidate."""
    start = time.monotonic()
    metrics = read_metrics(run.paths)
    before = versions.released(run.paths.root).get(run.paths.name)
    if is_released_by_verdict(run.pipeline, run.paths, metrics) and not run.baseline_only:
        release_candidate(run, metrics["why"])
    after = versions.released(run.paths.root).get(run.paths.name)  # a candidate rolled back by a person stays back
    waits = waits_for_person(run.pipeline, run.paths, metrics)
    request = f"; the candidate waits {ask_for_word(run.paths.name, waits)}" if waits else ""
    if rejected := decisions.rejection(run.paths):
        request = f"; the candidate was rejected by {rejected['who']}: {rejected['why']}"
    message = f"{before or 'nothing'} stays released{request}"  # why was said by validate, and is at the end
    engine = versions.served_by(run.paths, after).partition(";")[0] if after else ""
    said = f"{after} is released" + f", served by {engine}" * engine.startswith("onnx")
    summary = message if after == before else said
    run.progress(stage="release", summary=summary, seconds=time.monotonic() - start)
    return {"summary": summary, "version": after}


@prefect_step
def deploy(run: Run) -> dict[str, Any] | None:
    """Make the endpoint serve what is released."""
    start = time.monotonic()
    root = run.paths.root
    if run.baseline_only or served_versions(root) == versions.released(root):
        return None
    result = deploy_released(root, run.progress, run.paths.name)
    summary = "; ".join([f"{result['url']} answers", *(f"not served: {one}" for one in result["failures"].values())])
    run.progress(stage="deploy", summary=summary, seconds=time.monotonic() - start)
    return result | {"summary": summary}


def publish(stage: str, paths: Paths) -> None:
    """Put the results of a finished stage into Prefect's UI."""
    key = paths.name.replace("_", "-")  # all that Prefect allows in a key
    if stage == "select" and (rows := read_json(paths.select)["leaderboard"]):
        create_table_artifact(key=f"{key}-leaderboard", table=[format.to_table_row(row) for row in rows])
    if stage == "tune" and (rows := read_json(paths.tune)["trials"]):
        create_table_artifact(key=f"{key}-trials", table=[format.to_table_row(row) for row in rows])
    if stage == "validate":
        metrics = read_metrics(paths)
        text = f"**{metrics['verdict']}**: {metrics['why']}\n\n{format.scores_table(metrics)}"
        create_markdown_artifact(key=f"{key}-metrics", markdown=text)
    folder = {"preprocess": paths.described, "report": paths.report}.get(stage)
    if folder:
        link = f"{server.Server(paths.root).url}/reports/{folder.relative_to(paths.root).as_posix()}/report.html"
        create_link_artifact(key=f"{key}-{stage}", link=link, link_text=f"{paths.name}: {stage}")
