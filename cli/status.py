"""`evergreen status`, `report` and `stop`: what there is, and the end of it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from evergreen.cli.output import Answer
from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths, find_root
from evergreen.flows.overview import describe_project
from evergreen.stages.pipeline import read


def status(given: Namespace) -> Answer:
    """Each pipeline: which stages are stale and why, what its candidate reached, what is released and served."""
    value = describe_project(find_root(), given.name)
    up = [
        f"endpoint  {value['endpoint'] or 'down; evergreen serve'}",
        f"runs      {value['runs'] or 'Prefect is down'}",
    ]
    return Answer(value, "\n".join([*map(_lines, value["pipelines"]), *up]))


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
        "watch": processes.terminate_tree(schedule.record(root)),
        "endpoint and Ray": ray_cluster.stop(root),
        "Prefect": Server(root).stop(),
    }
    done = [name for name, was in ended.items() if was]
    return Answer({"ended": done}, f"ended: {', '.join(done)}" if done else "nothing was running")
