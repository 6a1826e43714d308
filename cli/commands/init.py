"""`evergreen init`: make a folder of a git repository a project."""

from dataclasses import asdict
from pathlib import Path

from evergreen.cli.output import CommandResult

NEXT = "next: evergreen new NAME --from FILE --target COLUMN"
PARTS = "your own parts go into models/architectures/, models/tasks/, data/kinds/ and data/sources/, one file each"


def init() -> CommandResult:
    """Make this folder a project; change nothing that is there.

    The folder lies in a git repository, at its top or below.
    """
    from evergreen.stages.engines import project

    root = Path.cwd()
    files = project.create(root)
    width = max(len(one.path) for one in files) + 2
    lines = [f"{one.path:<{width}}{one.purpose}{'' if one.written else ' (was there)'}" for one in files]
    if not any(one.written for one in files):
        lines.append("everything is there; nothing was changed")
    value = {"project": str(root), "files": [asdict(one) for one in files]}
    return CommandResult(value, "\n".join([*lines, PARTS, NEXT]))
