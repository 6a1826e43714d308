"""`evergreen watch`: run the schedules in the pipelines' YAML until interrupted."""

from functools import partial

from evergreen.cli.output import CommandResult


def watch() -> CommandResult:
    """Run the pipelines' schedules until interrupted."""
    from evergreen.flows import schedule

    return CommandResult({"schedules": schedule.watch(partial(print, flush=True))}, "")
