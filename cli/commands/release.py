"""`evergreen release`: another name of `evergreen approve`."""

from evergreen.cli.commands.approve import Reason, approve
from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def release(name: PipelineName, reason: Reason = "") -> CommandResult:
    """Do the same as `evergreen approve`."""
    return approve(name, reason)
