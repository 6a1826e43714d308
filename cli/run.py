"""`evergreen run`: brings a pipeline up to date, and shows that what is released answers."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from evergreen.cli.output import Answer
from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths, find_root
from evergreen.core.processes import holder
from evergreen.core.progress import Progress, screen
from evergreen.flows import format
from evergreen.stages.pipeline import Pipeline, read


def run(given: Namespace) -> Answer:
    """Says that nothing is stale before Prefect is even imported; otherwise runs the lifecycle under it."""
    from evergreen.stages.engines import versions

    root = find_root()
    pipeline, paths = read(given.name, root), Paths(root, given.name)
    versions.prepare(root)
    if process := holder(format.lock(paths)):
        fix = "wait until it has ended, or end it"
        raise PipelineError(f"{pipeline.name} is being run already (process {process})", fix=fix)
    with screen() as progress:
        stale = not up_to_date(pipeline, paths)
        if stale:
            under_prefect(pipeline.name, paths, progress)
        value = show(pipeline, paths, progress) | {"ran": stale}
    return Answer(value, text(value))


def up_to_date(pipeline: Pipeline, paths: Paths) -> bool:
    from evergreen.stages.collect import stage as collect
    from evergreen.stages.engines import versions

    if not versions.fresh(paths) or collect.changed(pipeline.collect, paths):
        return False
    proven = read_json(paths.report / "metrics.json")["verdict"] == "release"
    return not proven or versions.registered(paths) is not None  # else a run was ended right before its release


def under_prefect(name: str, paths: Paths, progress: Progress) -> None:
    """The flow `lifecycle` under this clone's Prefect server; Ray starts while the server does."""
    from evergreen.flows.server import Server
    from evergreen.stages.engines import ray_cluster

    server = Server(paths.root)
    server.begin()
    progress(stage="start", engines="Ray and Prefect")
    ray_cluster.connect(paths.root)
    server.wait()
    from evergreen.flows.lifecycle import lifecycle
    from evergreen.flows.steps import watched

    with watched(name, progress):
        lifecycle(name)


def show(pipeline: Pipeline, paths: Paths, progress: Progress) -> dict[str, Any]:
    """What is released, after asking it for one real answer."""
    from evergreen.flows import serving
    from evergreen.flows.server import Server
    from evergreen.stages.deploy import stage as deploy
    from evergreen.stages.engines import versions

    released = versions.released(paths.root)
    metrics = read_json(paths.report / "metrics.json")
    value = {
        "pipeline": pipeline.name,
        "version": released.get(pipeline.name),
        "candidate": versions.registered(paths),
        "verdict": metrics["verdict"],
        "why": metrics["why"],
        "test": metrics["test"],
        "scores": format.scores(metrics),
        "report": str(paths.report / "report.html"),
        "data": str(paths.described / "report.html"),
        "runs": Server(paths.root).url,
    }
    if pipeline.name not in released:
        return value
    if serving.serving(paths.root).get(pipeline.name) != released[pipeline.name]:
        progress(stage="deploy")
        serving.deploy_released(paths.root, progress)
    url = deploy.status(paths.root)["url"]  # type: ignore[index]  # deployed above
    row = serving.example(paths)
    answer = serving.ask(url, pipeline.name, row)
    return value | {"url": url, "answer": answer, "curl": serving.curl(url, paths, row)}


def text(value: dict[str, Any]) -> str:
    name, version = value["pipeline"], value["version"]
    state = f"{name} {version} is released" if version else f"{name} is not released: {value['why']}"
    lines = [f"{state}{'' if value['ran'] else '; nothing is stale'}"]
    shown = {
        "note": _apart(value),
        "answer": brief(value["answer"]["predictions"][0]) if "answer" in value else None,
        "scores": value["scores"],
        "report": value["report"],
        "data": value["data"],
        "runs": value["runs"] and f"{value['runs']} (Prefect)",
        "docs": f"{value['url']}/docs" if "url" in value else None,
        "ask it": value.get("curl"),
        "stop": "evergreen stop, or: make stop",
    }
    return "\n".join(lines + [f"  {label:<8}{item}" for label, item in shown.items() if item])


def _apart(value: dict[str, Any]) -> str | None:
    """What a person must know where the scores are not those of the version in service."""
    if not value["version"] or value["candidate"] == value["version"]:
        return None
    what = (
        f"{value['candidate']}, which is not in service" if value["candidate"] else "a candidate that is not released"
    )
    return f"scores and report are of {what}: {value['why']}"


def brief(answer: dict[str, Any]) -> str:
    """An answer on one line: 3 (99.8% sure)."""
    chances = answer.get("probabilities")
    sure = f" ({max(chances.values()):.1%} sure)" if chances else ""
    return f"{json.dumps(_short(answer['prediction']), ensure_ascii=False)}{sure}, to the first test row"


def _short(value: Any) -> Any:
    """Numbers with six digits and the first dozen of a list, enough for a screen."""
    if isinstance(value, list):
        return [_short(one) for one in value[:12]] + (["…"] if len(value) > 12 else [])
    return float(f"{value:.6g}") if isinstance(value, float) else value
