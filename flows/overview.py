"""Describe the pipelines of a project: what is stale and why, its scores, what is released and served."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from evergreen.core.errors import DataError, PipelineError, UserError
from evergreen.core.paths import Paths
from evergreen.core.processes import load_live
from evergreen.core.retention import measure
from evergreen.flows import challenge, format, run_log
from evergreen.flows.approval import ask_for_word, waits_for_person
from evergreen.flows.run_events import find_overdue
from evergreen.stages.metrics import read_metrics
from evergreen.stages.monitor.stage import read_findings
from evergreen.stages.pipeline import Pipeline, names, read

NEWEST = 10  # runs among which the last one is looked for
STATES = ("mistake", "failed", "overdue", "waits", "running", "stale", "fine")  # what needs a person comes first


def describe_project(root: Path, name: str = "") -> dict[str, Any]:
    """Describe one pipeline, or all, those with a problem first; with the addresses of the endpoint and of Prefect."""
    from evergreen.flows.schedule import pid_file
    from evergreen.flows.server import Server
    from evergreen.stages.deploy import stage as deploy
    from evergreen.stages.engines import challengers, decisions, versions

    versions.prepare(root)
    released, retired = versions.in_service(root), versions.retired(root)
    if name not in ("", *released):
        read(name, root)
    pipelines, described = [], {}
    for pipeline_name in [name] if name else sorted({*names(root), *released} - {*retired}):
        try:
            if pipeline_name not in names(root):
                version = released[pipeline_name].version
                problem = f"there is no pipelines/{pipeline_name}.yaml, but {version} is in service"
                raise PipelineError(problem, fix=f"take it out of service with: evergreen retire {pipeline_name}")
            pipelines.append(read(pipeline_name, root))
        except PipelineError as error:
            described[pipeline_name] = _describe_mistake(pipeline_name, error)
    served, watching = deploy.status(root), load_live(pid_file(root))
    known = {
        "released": released,
        "served": served["pipelines"] if served else {},
        "decisions": decisions.decisions(root),
        "rollouts": challengers.rollouts(root),
        "watching": watching is not None,
        "measured": bool(name),
    }
    reasons = versions.stale_reasons(root, pipelines)
    for one in pipelines:
        try:
            described[one.name] = _describe(one, root, reasons[one.name], known)
        except UserError as error:
            described[one.name] = _describe_mistake(one.name, error)
    order = sorted(described.values(), key=lambda one: (STATES.index(one["state"]), one["name"]))
    return {
        "pipelines": order,
        "retired": [one for one in retired if name in ("", one)],
        "endpoint": served["url"] if served else None,
        "runs": Server(root).url,
        "watch": watching["pid"] if watching else None,
    }


def _describe_mistake(name: str, error: UserError) -> dict[str, Any]:
    return {"name": name, "mistake": str(error), "state": "mistake", "problem": str(error)}


def _describe(pipeline: Pipeline, root: Path, stale: dict[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    from evergreen.stages.engines import versions

    paths = Paths(root, pipeline.name)
    metrics = read_metrics(paths) if paths.metrics.is_file() else None
    case = waits_for_person(pipeline, paths, metrics) if metrics else ""
    stale = ({} if "collect" in stale else _stale_source(pipeline, paths)) | stale
    newest = [*islice(run_log.read_runs(paths), NEWEST)]  # a run that overlaps another begins later and ends at once
    last = next((run for run in newest if run.end == "running"), newest[0] if newest else None)
    event, rollout = known["released"].get(pipeline.name), known["rollouts"].get(pipeline.name)
    decision = challenge.read_decision(paths, rollout) if rollout else None
    word = ask_for_word(pipeline.name, case) if case else ""
    if decision and decision["verdict"] == "ask":
        word = word or challenge.ask_for_word(pipeline.name, decision["why"])
    done = next((run for run in newest if run.is_update), None)
    state, problem = _find_problem(pipeline, paths, last if last and last.end == "running" else done, word, stale)
    return {
        "name": pipeline.name,
        "state": state,
        "problem": problem,
        "stale": stale,
        "verdict": metrics["verdict"] if metrics else None,
        "waits": bool(case),
        "case": case,
        "decision": known["decisions"].get(pipeline.name),
        "test": metrics["test"] if metrics else None,
        "scores": format.format_scores(metrics) if metrics else None,
        "released": event.version if event else None,
        "since": event.date if event else None,
        "served": known["served"].get(pipeline.name),
        "rollout": vars(rollout) | {"decision": decision} if rollout else None,
        "engine": versions.served_by(paths, event.version) if event else "",
        "last_run": {key: value for key, value in vars(last).items() if key != "lines"} if last else None,
        "next": _next_run(pipeline) if known["watching"] else None,
        "requests": read_findings(paths)["latest"],
        "bytes": sum(measure(folder).size for folder in _own_folders(paths)) if known["measured"] else None,
    }


def _own_folders(paths: Paths) -> list[Path]:
    """Return the folders below .evergreen that are of this pipeline alone."""
    return [paths.requests, paths.monitor, paths.released, paths.run_folder, paths.home / "history" / paths.name]


def _find_problem(
    pipeline: Pipeline, paths: Paths, last: run_log.RunRecord | None, word: str, stale: dict[str, str]
) -> tuple[str, str]:
    """Return the state of a pipeline, the first of STATES that holds, and why it is in it."""
    if last and last.end == "running":
        return "running", f"since {last.started}, {last.trigger}"
    if last and last.end in ("failed", "died"):
        return "failed", last.why
    if overdue := find_overdue(pipeline, paths):
        return "overdue", overdue
    if word:
        return "waits", word
    first = next(iter(stale.items()), None)
    return ("stale", f"{first[0]} ({first[1]})") if first else ("fine", "")


def _stale_source(pipeline: Pipeline, paths: Paths) -> dict[str, str]:
    """Say whether the source changed, which DVC cannot see; one that cannot be read is a reason as well."""
    from evergreen.stages.collect import stage as collect

    try:
        return {"collect": "the source changed"} if collect.has_changed(pipeline.collect, paths) else {}
    except DataError as error:
        return {"collect": str(error)}


def _next_run(pipeline: Pipeline) -> str | None:
    """Return when the schedule is due next, in UTC; None without one."""
    if not pipeline.operation.schedule:
        return None
    return next(pipeline.operation.due_after(datetime.now(UTC))).astimezone(UTC).isoformat(timespec="minutes")
