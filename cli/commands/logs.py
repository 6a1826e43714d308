"""`evergreen logs`: what the steps of a run said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName

if TYPE_CHECKING:
    from evergreen.core.paths import Paths


def logs(
    name: PipelineName,
    started: Annotated[
        str, typer.Argument(metavar="[TIME]", help="When the run began, as far as it is known; default: the last run.")
    ] = "",
) -> CommandResult:
    """Show what a run of a pipeline said, and how it ended."""
    from evergreen.core.errors import PipelineError
    from evergreen.flows.run_log import read_runs

    for record in read_runs(find_paths(name)):
        if record.started.startswith(started.replace(" ", "T")):
            head = f"{record.started}  {name}, {record.trigger}"
            lines = [
                f"{line['at'][11:19]}  {line.get('stage', '')} {line['summary']}" if "summary" in line else text
                for line in record.lines
                if (text := line.get("traceback", "").rstrip()) or "summary" in line
            ]
            end = f"{record.ended[11:19]:<8}  {record.end}{': ' * bool(record.why)}{record.why}"
            return CommandResult(vars(record), "\n".join([head, *lines, end]))
    problem = f"no run of {name} began at {started}" if started else f"{name} never ran here"
    raise PipelineError(problem, fix=f"its runs: evergreen runs {name}" if started else f"evergreen run {name}")


def find_paths(name: str) -> Paths:
    """Return the places of a pipeline, also of one whose YAML is broken. Raises PipelineError where there is none."""
    from evergreen.core.errors import PipelineError, suggest
    from evergreen.core.paths import Paths, find_root
    from evergreen.stages.pipeline import NAME, names

    root, known = find_root(), names(find_root())
    has_run = bool(NAME.fullmatch(name)) and (root / ".evergreen" / "history" / name).is_dir()
    if name not in known and not has_run:
        raise PipelineError(f"there is no pipeline {name!r}", fix=suggest(name, known, "pipelines"))
    return Paths(root, name)
