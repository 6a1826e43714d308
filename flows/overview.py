"""Describe the pipelines of a project: what is stale and why, its scores, what is released and served."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evergreen.core.errors import DataError, PipelineError
from evergreen.core.paths import Paths
from evergreen.flows import format
from evergreen.flows.approval import waits_for_person
from evergreen.stages.metrics import read_metrics
from evergreen.stages.pipeline import Pipeline, names, read


def describe_project(root: Path, name: str = "") -> dict[str, Any]:
    """Describe one pipeline, or all, with the addresses of the endpoint and of Prefect's pages."""
    from evergreen.flows.server import Server
    from evergreen.stages.deploy import stage as deploy
    from evergreen.stages.engines import decisions, versions

    versions.prepare(root)
    released, retired = versions.released(root), versions.retired(root)
    if name not in ("", *released):
        read(name, root)
    pipelines, mistakes = [], {}
    for pipeline_name in [name] if name else sorted({*names(root), *released} - {*retired}):
        try:
            if pipeline_name not in names(root):
                problem = f"there is no pipelines/{pipeline_name}.yaml, but {released[pipeline_name]} is in service"
                raise PipelineError(problem, fix=f"take it out of service with: evergreen retire {pipeline_name}")
            pipelines.append(read(pipeline_name, root))
        except PipelineError as error:
            mistakes[pipeline_name] = {"name": pipeline_name, "mistake": str(error)}
    served = deploy.status(root)
    known = {
        "released": released,
        "served": served["pipelines"] if served else {},
        "decisions": decisions.decisions(root),
    }
    reasons = versions.stale_reasons(root, pipelines)
    described = mistakes | {one.name: _describe(one, root, reasons[one.name], known) for one in pipelines}
    return {
        "pipelines": [described[one] for one in sorted(described)],
        "retired": [one for one in retired if name in ("", one)],
        "endpoint": served["url"] if served else None,
        "runs": Server(root).url,
    }


def _describe(pipeline: Pipeline, root: Path, stale: dict[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    paths = Paths(root, pipeline.name)
    metrics = read_metrics(paths) if paths.metrics.is_file() else None
    case = waits_for_person(pipeline, paths, metrics) if metrics else ""
    source = {} if "collect" in stale else _stale_source(pipeline, paths)
    return {
        "name": pipeline.name,
        "stale": source | stale,
        "verdict": metrics["verdict"] if metrics else None,
        "waits": bool(case),
        "case": case,
        "decision": known["decisions"].get(pipeline.name),
        "test": metrics["test"] if metrics else None,
        "scores": format.format_scores(metrics) if metrics else None,
        "released": known["released"].get(pipeline.name),
        "served": known["served"].get(pipeline.name),
        "next": _next_run(pipeline),
    }


def _stale_source(pipeline: Pipeline, paths: Paths) -> dict[str, str]:
    """Say whether the source changed, which DVC cannot see; one that cannot be read is a reason as well."""
    from evergreen.stages.collect import stage as collect

    try:
        return {"collect": "the source changed"} if collect.has_changed(pipeline.collect, paths) else {}
    except DataError as error:
        return {"collect": str(error)}


def _next_run(pipeline: Pipeline) -> str | None:
    """Return when the schedule is due next, in UTC, or None without one; `evergreen watch` must run then."""
    if not pipeline.operation.schedule:
        return None
    from cronsim import CronSim

    return next(CronSim(pipeline.operation.schedule, datetime.now(UTC))).isoformat(timespec="minutes")
