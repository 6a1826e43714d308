"""`evergreen dvc`: DVC's own command line, where `dvc` need not be on the path."""

import os
import sys
from pathlib import Path

from evergreen.cli.output import CommandResult


def dvc(arguments: list[str]) -> CommandResult:
    """Pass the rest of the line on to DVC: evergreen dvc status.

    It becomes this process; its stages find this environment's `evergreen` first.
    """
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    os.execve(sys.executable, [sys.executable, "-m", "dvc", *arguments], environment)
