"""`evergreen status`, `report` and `stop`: what there is, and the end of it."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows import words
from flows.answers import Answer
from stages.artifacts import Paths, find_root, read_json
from stages.pipeline import STAGES, Pipeline, PipelineError, names, read


def status(given: Namespace) -> Answer:
    """Each pipeline: which stages are stale and why, what its candidate reached, what is released and served."""
    from flows.server import Server
    from stages import versions

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
    from stages import deploy

    return deploy.status(root)


def _one(name: str, root: Path, served: dict[str, Any] | None) -> dict[str, Any]:
    from stages import versions

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
        "scores": words.scores(metrics) if metrics else None,
        "released": versions.released(root).get(name),
        "served": served["pipelines"].get(name) if served else None,
        "next": _next(pipeline),
    }


def _stale(pipeline: Pipeline, paths: Paths) -> dict[str, str]:
    """Why each stage must run that must; a source that cannot be read is one more reason."""
    from data.field import DataError

    found = {}
    for stage in STAGES:
        try:
            reason = words.stale(pipeline, paths, stage)
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
    from flows import processes, retrain
    from flows.server import Server
    from stages import cluster

    root = find_root()
    ended = {
        "watch": processes.end(retrain.record(root)),
        "endpoint and Ray": cluster.stop(root),
        "Prefect": Server(root).stop(),
    }
    done = [name for name, was in ended.items() if was]
    return Answer({"ended": done}, f"ended: {', '.join(done)}" if done else "nothing was running")
