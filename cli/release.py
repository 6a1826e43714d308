"""`evergreen serve`, `release` and `rollback`: what is in production, changed by a person."""

from __future__ import annotations

from argparse import Namespace

from evergreen.cli.output import Answer
from evergreen.core.paths import Paths, find_root
from evergreen.core.progress import console_progress
from evergreen.stages.pipeline import read


def serve(given: Namespace) -> Answer:
    """Makes the endpoint answer with every released version."""
    from evergreen.flows.serving import deploy_released
    from evergreen.stages.engines import versions

    root = find_root()
    versions.prepare(root)
    with console_progress() as progress:
        value = deploy_released(root, progress)
    lines = [f"  POST {value['url']}/{name}/predict  {version}" for name, version in value["pipelines"].items()]
    moved = f" (port {value['moved_from']} is taken)" if value.get("moved_from") else ""
    return Answer(
        value, "\n".join([f"the endpoint is up: {value['url']}/docs{moved}", *lines, "  stop: evergreen stop"])
    )


def release(given: Namespace) -> Answer:
    return _change(given.name, "release")


def rollback(given: Namespace) -> Answer:
    return _change(given.name, "rollback", given.version)


def _change(name: str, what: str, *choice: str | None) -> Answer:
    """Runs the flow of that name, so that Prefect's record says who served what when."""
    from evergreen.flows.server import Server
    from evergreen.stages.engines import versions

    root = find_root()
    read(name, root)
    versions.prepare(root)
    before, server = versions.released(root).get(name), Server(Paths(root, name).root)
    server.begin()
    with console_progress() as progress:
        progress(stage=what)
        server.wait()
        from evergreen.flows import promotion
        from evergreen.flows.steps import watched

        with watched(name, progress):
            found = getattr(promotion, what)(name, *choice)
    value = {"pipeline": name, "before": before, **found}
    text = f"{name} {value['version']} is released (before: {before}); it answers at {value['url']}/{name}/predict"
    return Answer(value, text)
