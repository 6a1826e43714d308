"""`evergreen runs`: the runs of a pipeline."""

from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def runs(
    name: PipelineName,
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, help="Show as many runs at most.")] = 20,
) -> CommandResult:
    """List the runs of a pipeline, the newest first."""
    from itertools import islice

    from evergreen.cli.commands.logs import find_paths
    from evergreen.flows.run_log import read_runs

    shown = [_describe(record) for record in islice(read_runs(find_paths(name)), last)]
    lines = map(_format, shown)
    return CommandResult({"pipeline": name, "runs": shown}, "\n".join(lines) or f"{name} never ran here")


def _format(run: dict[str, Any]) -> str:
    spent = "" if run["seconds"] is None else f"{run['seconds']:,} s"
    return f"{run['started'][:19]}  {run['end']:<10}{spent:>9}  {run['trigger']:<10}{run['why']}".rstrip()


def _describe(record: Any) -> dict[str, Any]:
    from datetime import datetime

    facts = {key: value for key, value in vars(record).items() if key != "lines"}
    spent = datetime.fromisoformat(record.ended) - datetime.fromisoformat(record.started) if record.ended else None
    return facts | {"seconds": round(spent.total_seconds()) if spent is not None else None}
