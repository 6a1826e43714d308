"""Give a stage a folder for unfinished work, in which one process at a time works.

The next process continues what a killed one left there.
"""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def exclusive_workdir(paths: Paths, stage: str, doing: str) -> Iterator[Path]:
    """Yield the stage's folder, held by this process alone; `doing` says what is being done to the pipeline.

    Raises:
        PipelineError: another process holds it.
    """
    folder = paths.home / stage / paths.name
    paths.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive_lock(folder.with_suffix(".lock"), f"{paths.name} is being {doing} already"):
        folder.mkdir(exist_ok=True)
        yield folder


@contextlib.contextmanager
def explain_disk_full(place: Path, safe: str) -> Iterator[None]:
    """Turn the error of a full disk into a PipelineError; `safe` says what is not lost."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        fix = f"make room and run again: what is finished stays, and {safe} is whole"
        raise PipelineError(f"the disk is full ({error.strerror or error})", place=str(place), fix=fix) from error
