"""`evergreen reject`: decide against a candidate."""

from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline


def reject(
    name: PipelineName,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the version's tag keeps it.")],
) -> CommandResult:
    """Decide against a candidate: nobody is asked about it again.

    It is kept as a version that never was in service, whose tag says who rejected it, when and why;
    `evergreen approve` changes the decision.
    """
    from evergreen.core.errors import PipelineError
    from evergreen.core.processes import exclusive_lock
    from evergreen.stages.engines import decisions, versions

    _, paths = open_pipeline(name)
    if not reason.split():
        raise PipelineError("the reason is empty", fix="say why: --reason TEXT")
    with exclusive_lock(paths.run_lock, f"{name} is already running"):
        version = decisions.reject(paths, reason)
    stays = versions.released(paths.root).get(name)
    value = {"pipeline": name, "rejected": version, "version": stays}
    return CommandResult(value, f"{name} {version} is rejected; {stays or 'nothing'} stays released")
