"""`evergreen notify`: send the messages that are due, or a test message."""

from typing import Annotated

import typer

from evergreen.cli.output import CommandResult


def notify(
    what: Annotated[str, typer.Argument(metavar="[test]", help="test: send a test message to each address.")] = "",
) -> CommandResult:
    """Send the messages that are due, or a test message.

    Due are those that could not be sent before, and one for each pipeline that has not succeeded for as long as its
    `alarm_after` says. `evergreen watch` does the same each minute; without it, call this from cron.
    """
    from evergreen.core.errors import PipelineError, suggest
    from evergreen.core.paths import find_root
    from evergreen.flows.notifications import list_addresses, send
    from evergreen.flows.run_events import tell_overdue

    root = find_root()
    if not what:
        problems = tell_overdue(root)
        return CommandResult({"problems": problems}, "\n".join(problems) or "nothing is left to send", bool(problems))
    if what != "test":
        raise PipelineError(f"there is nothing like {what!r} to send", fix=suggest(what, ["test"]))
    if not (addresses := list_addresses(root)):
        fix = "write `to: [mailto://…]` into notify.yaml, or `notify: {to: […]}` into a pipeline's YAML"
        raise PipelineError("nobody is to be told", fix=fix)
    text = f"This is a test: messages about the pipelines of {root} arrive here."
    failures = {address: send(address, "Evergreen: test", text) for address in addresses}
    lines = [f"{address}  {failure or 'sent'}" for address, failure in failures.items()]
    return CommandResult({"sent": failures}, "\n".join(lines), int(any(failures.values())))
