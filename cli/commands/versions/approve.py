"""`evergreen approve`: put a candidate into production by a person's word."""

from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline
from evergreen.core.progress import console_progress

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the version's tag keeps it.")]


def approve(name: PipelineName, reason: Reason = "") -> CommandResult:
    """Release a candidate and serve it, whatever its verdict.

    The tag says who approved it, when and why.
    """
    return change_release(name, "approve", reason)


def change_release(name: str, flow: str, *arguments: str | None) -> CommandResult:
    """Run a flow of flows/promotion.py, so that Prefect's record says who served what when."""
    from evergreen.flows.update import call_flow
    from evergreen.stages.engines import versions

    _, paths = open_pipeline(name)
    before = versions.released(paths.root).get(name)
    with console_progress() as progress:
        after = call_flow(paths, f"promotion:{flow}", progress, *arguments)
    value = {"pipeline": name, "before": before, **after}
    text = f"{name} {value['version']} is released (before: {before}); it answers at {value['url']}/{name}/predict"
    return CommandResult(value, text)
