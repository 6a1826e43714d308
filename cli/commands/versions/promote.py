"""`evergreen promote`: put the canary or shadow into production."""

from evergreen.cli.commands.versions.approve import Reason
from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline


def promote(name: PipelineName, reason: Reason = "") -> CommandResult:
    """Put the canary or shadow of a pipeline into production."""
    from evergreen.core.progress import console_progress
    from evergreen.flows import challenge

    _, paths = open_pipeline(name)
    with console_progress() as progress:
        value = challenge.promote(paths, reason, progress)
    return CommandResult({"pipeline": name, **value}, f"{name} {value['version']} is in production")
