"""`evergreen rollback`: return to an earlier version."""

from typing import Annotated

import typer

from evergreen.cli.commands.versions.approve import change_release
from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def rollback(
    name: PipelineName,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Default: the newest before the one in service.")
    ] = None,
) -> CommandResult:
    """Return to an earlier version and serve it."""
    return change_release(name, "rollback", version)
