"""`evergreen restore`: put a backup into a fresh clone."""

from pathlib import Path
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult


def restore(file: Annotated[Path, typer.Argument(metavar="FILE", help="Of `evergreen backup`.")]) -> CommandResult:
    """Put a backup into a fresh clone; overwrite nothing."""
    from evergreen.core.paths import find_root
    from evergreen.stages.engines import versions
    from evergreen.stages.engines.backup_file import restore_backup

    root = find_root()
    n_files = restore_backup(root, file.resolve())
    versions.prepare(root)  # DVC's settings name a folder of the machine that was lost
    lines = [f"{n_files:,} files are back", "  next: evergreen dvc pull, then evergreen serve"]
    return CommandResult({"files": n_files}, "\n".join(lines))
