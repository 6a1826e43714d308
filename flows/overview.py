"""Describe the pipelines of a project: what is stale and why, its scores, what is released and served."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evergreen.core.errors import DataError, PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.flows import format
from evergreen.stages.pipeline import STAGES, Pipeline, names, read


def describe_project(root: Path, name: str = "") -> dict[str, Any]:
    """Describe one pipeline, or all, with the addresses of the endpoint and of Prefect's pages."""
    from evergreen.flows.server import Server
    from evergreen.stages.deploy import stage as deploy
    from evergreen.stages.engines import versions

    if name:
        read(name, root)
    versions.prepare(root)
    served = deploy.status(root)
    pipelines = [_describe(one, root, served) for one in ([name] if name else names(root))]
    return {"pipelines": pipelines, "endpoint": served["url"] if served else None, "runs": Server(root).url}


def _describe(name: str, root: Path, served: dict[str, Any] | None) -> dict[str, Any]:
    from evergreen.stages.engines import versions

    try:
        pipeline = read(name, root)
    except PipelineError as error:
        return {"name": name, "mistake": str(error)}
    paths = Paths(root, name)
    report = paths.report / "metrics.json"
    metrics = read_json(report) if report.is_file() else None
    return {
        "name": name,
        "stale": _stale(pipeline, paths),
        "verdict": metrics["verdict"] if metrics else None,
        "test": metrics["test"] if metrics else None,
        "scores": format.format_scores(metrics) if metrics else None,
        "released": versions.released(root).get(name),
        "served": served["pipelines"].get(name) if served else None,
        "next": _next_run(pipeline),
    }


def _stale(pipeline: Pipeline, paths: Paths) -> dict[str, str]:
    """Why each stage must run that must; a source that cannot be read is one more reason."""
    found = {}
    for stage in STAGES:
        try:
            reason = format.stale_reason(pipeline, paths, stage)
        except DataError as error:
            reason = str(error)
        if reason:
            found[stage] = reason
    return found


def _next_run(pipeline: Pipeline) -> str | None:
    """When the schedule comes next, in UTC, if `evergreen watch` runs then."""
    if not pipeline.schedule:
        return None
    from cronsim import CronSim

    return next(CronSim(pipeline.schedule, datetime.now(UTC))).isoformat(timespec="minutes")
