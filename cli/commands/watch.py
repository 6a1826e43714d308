"""`evergreen watch`: run the schedules in the pipelines' YAML until interrupted."""

from functools import partial
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult


def watch(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Answer links here, 0.0.0.0 is everywhere.")
    ] = "127.0.0.1",
    pool: Annotated[
        str, typer.Option("--pool", metavar="NAME", help="The workers of this work pool of Prefect's do the runs.")
    ] = "",
) -> CommandResult:
    """Run the pipelines' schedules until interrupted.

    It also answers the signed links in messages, by which people decide: on 127.0.0.1 alone, if --host says nothing
    else. There is no TLS; put a proxy in front, and write its address into notify.yaml as `links: https://…`.
    """
    from evergreen.flows import schedule

    return CommandResult({"schedules": schedule.watch(partial(print, flush=True), host, pool)}, "")
