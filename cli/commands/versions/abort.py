"""`evergreen abort`: end the canary or shadow."""

from evergreen.cli.commands.versions.approve import Reason
from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline


def abort(name: PipelineName, reason: Reason = "") -> CommandResult:
    """End the canary or shadow of a pipeline.

    No run releases that version any more; `evergreen approve` and `evergreen deploy` change the decision.
    """
    from evergreen.core.progress import console_progress
    from evergreen.flows import challenge

    _, paths = open_pipeline(name)
    with console_progress() as progress:
        value = challenge.abort(paths, reason, progress)
    text = f"{name} {value['version']} is aborted; {value['production']} answers all"
    return CommandResult({"pipeline": name, **value}, text)
