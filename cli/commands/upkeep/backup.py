"""`evergreen backup`: what neither git nor DVC keeps, in one file."""

from pathlib import Path
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult


def backup(file: Annotated[Path, typer.Argument(metavar="FILE", help="It is written anew.")]) -> CommandResult:
    """Write what neither git nor DVC keeps into one file.

    Request log, API keys, findings, records of runs, secrets: keep it where nobody else reads it. Runs may go on.
    """
    from evergreen.core.paths import find_root
    from evergreen.stages.engines.backup_file import write_backup

    n_files = write_backup(find_root(), file.resolve())
    size = file.stat().st_size
    lines = [
        f"{file}: {n_files:,} files, {size / 1e6:,.1f} MB",
        "  git push --follow-tags and evergreen dvc push keep the rest",
    ]
    return CommandResult({"file": str(file.resolve()), "files": n_files, "bytes": size}, "\n".join(lines))
