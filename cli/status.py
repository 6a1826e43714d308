"""`evergreen status`, `report` and `stop`: what there is, and the end of it."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evergreen.cli.output import Answer
from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths, find_root
from evergreen.flows import format
from evergreen.stages.pipeline import STAGES, Pipeline, names, read


def status(given: Namespace) -> Answer:
    """Each pipeline: which stages are stale and why, what its candidate reached, what is released and served."""
    from evergreen.flows.server import Server
    from evergreen.stages.engines import versions

    root = find_root()
    if given.name:
        read(given.name, root)
    versions.prepare(root)
    served = _endpoint(root)
    found = [_one(name, root, served) for name in ([given.name] if given.name else names(root))]
    value = {"pipelines": found, "endpoint": served["url"] if served else None, "runs": Server(root).url}
    up = [
        f"endpoint  {value['endpoint'] or 'down; evergreen serve'}",
        f"runs      {value['runs'] or 'Prefect is down'}",
    ]
    return Answer(value, "\n".join([*map(_lines, found), *up]))


def _endpoint(root: Path) -> dict[str, Any] | None:
    from evergreen.stages.deploy import stage as deploy

    return deploy.status(root)


def _one(name: str, root: Path, served: dict[str, Any] | None) -> dict[str, Any]:
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
        "scores": format.scores(metrics) if metrics else None,
        "released": versions.released(root).get(name),
        "served": served["pipelines"].get(name) if served else None,
        "next": _next(pipeline),
    }


def _stale(pipeline: Pipeline, paths: Paths) -> dict[str, str]:
    """Why each stage must run that must; a source that cannot be read is one more reason."""
    from evergreen.core.errors import DataError

    found = {}
    for stage in STAGES:
        try:
            reason = format.stale(pipeline, paths, stage)
        except DataError as error:
            reason = str(error)
        if reason:
            found[stage] = reason
    return found


def _next(pipeline: Pipeline) -> str | None:
    """When the schedule comes next, in UTC, if `evergreen watch` runs then."""
    if not pipeline.schedule:
        return None
    from cronsim import CronSim

    return next(CronSim(pipeline.schedule, datetime.now(UTC))).isoformat(timespec="minutes")


def _lines(one: dict[str, Any]) -> str:
    if "mistake" in one:
        return f"{one['name']}\n  mistake   {one['mistake']}"
    stale = "; ".join(f"{stage} ({reason})" for stage, reason in one["stale"].items())
    shown = {
        "stale": stale or "nothing",
        "scores": one["scores"],
        "verdict": one["verdict"],
        "released": one["released"] or "nothing",
        "served": one["served"],
        "next run": one["next"],
    }
    return "\n".join([one["name"], *(f"  {label:<10}{item}" for label, item in shown.items() if item)])


def report(given: Namespace) -> Answer:
    """Where the report lies, of the model or of the data."""
    root = find_root()
    read(given.name, root)
    paths = Paths(root, given.name)
    page = (paths.described if given.data else paths.report) / "report.html"
    if not page.is_file():
        raise PipelineError(f"{given.name} has no report yet", fix=f"make one with: evergreen run {given.name}")
    if given.open:
        import webbrowser

        webbrowser.open(page.as_uri())
    return Answer({"pipeline": given.name, "report": str(page)}, str(page))


def stop(given: Namespace) -> Answer:
    """Ends the watching, the endpoint, Ray and Prefect of this clone; nothing of anybody else's."""
    from evergreen.core import processes
    from evergreen.flows import schedule
    from evergreen.flows.server import Server
    from evergreen.stages.engines import ray_cluster

    root = find_root()
    ended = {
        "watch": processes.end(schedule.record(root)),
        "endpoint and Ray": ray_cluster.stop(root),
        "Prefect": Server(root).stop(),
    }
    done = [name for name, was in ended.items() if was]
    return Answer({"ended": done}, f"ended: {', '.join(done)}" if done else "nothing was running")
