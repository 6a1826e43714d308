"""`evergreen trials`: what the searches for options tried."""

from pathlib import Path
from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName

HEAD = ("trial", "score", "rungs", "epochs", "seconds", "state", "options")


def trials(
    name: PipelineName,
    every: Annotated[bool, typer.Option("--all", help="Show every search that the ledger knows.")] = False,
    parquet: Annotated[str, typer.Option(metavar="FILE", help="Write them to a Parquet file, too.")] = "",
) -> CommandResult:
    """List the trials of the last search, with score and state."""
    from evergreen.cli.commands.logs import find_paths
    from evergreen.core.errors import PipelineError
    from evergreen.core.progress import format_number
    from evergreen.stages.trials.trial_table import list_trials, write_parquet

    rows = list_trials(find_paths(name), every=every)
    if parquet and not rows:
        raise PipelineError(f"{name} has no trials to write", fix="tune: {effort: 1} in its YAML asks for a search")
    if parquet:
        write_parquet(rows, Path(parquet))
    table = [HEAD, *(_cells(row, format_number) for row in rows)]
    widths = [max(len(cells[place]) for cells in table) for place in range(len(HEAD) - 1)]
    lines = ["  ".join([*map(str.ljust, cells, widths), cells[-1]]).rstrip() for cells in table]
    none = f"{name} has no trials; tune: {{effort: 1}} in its YAML asks for a search"
    return CommandResult({"pipeline": name, "trials": rows}, "\n".join(lines) if rows else none)


def _cells(row: dict[str, Any], format_number: Any) -> tuple[str, ...]:
    trial = f"{row['number']}" + f", seed +{row['repeat']}" * bool(row["repeat"])
    options = ", ".join(f"{option} {format_number(value)}" for option, value in row["options"].items())
    facts = ("" if row[key] is None else format_number(row[key]) for key in HEAD[1:-2])
    return (trial, *facts, row["state"], "; ".join(filter(None, [options, row["reason"]])))
