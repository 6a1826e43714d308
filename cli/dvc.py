"""Pass a command line on to the DVC of this environment, where `dvc` need not be on the path."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def replace_process(arguments: Sequence[str]) -> None:
    """Become `dvc ARGUMENTS…`; its stages find this environment's `evergreen` first."""
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    os.execve(sys.executable, [sys.executable, "-m", "dvc", *arguments], environment)
