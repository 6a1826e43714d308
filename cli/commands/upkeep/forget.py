"""`evergreen forget`: leave a row out from now on, and remove what is stored of it."""

import sys
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline


def forget(
    name: PipelineName,
    row: Annotated[str, typer.Option("--row", metavar="ORIGIN", help='A row or file, like "people.csv#17".')],
    later: Annotated[bool, typer.Option("--later", help="Train with the next run; call this again after it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> CommandResult:
    """Forget a row: leave it out, remove it, train without it.

    It is named in pipelines/NAME.forgotten.json, for git to keep, by a hash of its content. It goes from the request
    log, and from DVC's cache and remote where no version needs it; versions that still hold it are named.
    """
    from evergreen.core.errors import PipelineError
    from evergreen.core.progress import console_progress
    from evergreen.flows import forgetting

    pipeline, paths = open_pipeline(name)
    n_rows = len(forgetting.find_forgettable(pipeline, paths, row))
    if not yes:
        what = f"{n_rows:,} row{'s' * (n_rows != 1)} of {name}"
        if not sys.stdin.isatty():
            raise PipelineError(f"{what} would be forgotten for ever", fix="to do so, add --yes")
        if not typer.confirm(f"Forget {what} for ever, also in the request log?", err=True):
            return CommandResult({"pipeline": name, "row": row, "rows": 0}, "nothing was changed", status=1)
    with console_progress() as progress:
        done = forgetting.forget_row(pipeline, paths, row, progress, trains=not later)
    held = [f"{one['version']} ({', '.join(one['splits'])})" for one in done.versions]
    in_service = not later and done.released in [one["version"] for one in done.versions]
    file = paths.forgotten.relative_to(paths.root)
    lines = [
        f"{done.n_rows:,} {'row is' if done.n_rows == 1 else 'rows are'} left out from now on; commit {file}",
        f"  request log  {done.n_requests:,} removed",
        *(
            [f"  being logged {done.n_logged:,}; call it again after evergreen stop, or tomorrow"]
            if done.n_logged
            else []
        ),
        f"  DVC          {len(done.objects):,} objects removed that no version needs",
        f"  still held   {', '.join(held) or 'by no version'}",
        *(["  next         evergreen run, and then this again"] if later else []),
        *([f"  in service   {done.released}; evergreen approve {name} puts the candidate there"] if in_service else []),
    ]
    value = {"pipeline": name, "row": row, "file": str(file), **vars(done)}
    return CommandResult(value, "\n".join(lines))
