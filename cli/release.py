"""`evergreen release`: put a candidate into production by hand."""

from __future__ import annotations

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def release(name: PipelineName) -> CommandResult:
    """Release a candidate and serve it, whatever its verdict."""
    return change_release(name, "release")


def change_release(name: str, flow: str, *arguments: str | None) -> CommandResult:
    """Run a flow of flows/promotion.py, so that Prefect's record says who served what when."""
    from evergreen.core.paths import find_root
    from evergreen.core.progress import console_progress
    from evergreen.flows.server import Server
    from evergreen.stages.engines import versions
    from evergreen.stages.pipeline import read

    root = find_root()
    read(name, root)
    versions.prepare(root)
    before, server = versions.released(root).get(name), Server(root)
    server.start()
    with console_progress() as progress:
        progress(stage=flow)
        server.wait()
        from evergreen.flows import promotion
        from evergreen.flows.steps import with_progress

        with with_progress(name, progress):
            after = getattr(promotion, flow)(name, *arguments)
    value = {"pipeline": name, "before": before, **after}
    text = f"{name} {value['version']} is released (before: {before}); it answers at {value['url']}/{name}/predict"
    return CommandResult(value, text)
