"""`evergreen simulate`: compare when to train anew."""

from typing import Annotated

import typer

from evergreen.cli.commands.history.backfill import (
    Delay,
    Every,
    First,
    Known,
    Last,
    Parallel,
    TimeColumn,
    show_past,
)
from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def simulate(
    name: PipelineName,
    first: First,
    last: Last,
    every: Every = "month",
    schedule: Annotated[str, typer.Option("--schedule", metavar="CRON", help="One more policy.")] = "",
    time: TimeColumn = "",
    delay: Delay = "",
    known: Known = "",
    parallel: Parallel = 1,
) -> CommandResult:
    """Compare when to train anew, by score and by cost.

    Never, at each moment, after drift, and by a schedule: what answers would have been worth, and how many
    core-seconds of training that took. It uses what `evergreen backfill` keeps, and makes what is missing.
    """
    span = (first, last, every)
    return show_past(name, span, schedule, column=time, delay=delay, known=known, n_parallel=parallel)
