"""Where a stage keeps what is not whole yet: a folder of its own that one process at a time works in.

What a killed process left there is gone on with.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def exclusive_workdir(paths: Paths, stage: str, doing: str) -> Iterator[Path]:
    """The folder, held by this process alone; `doing` says what is being done to the pipeline. Raises PipelineError
    where another process holds it."""
    folder = paths.home / stage / paths.name
    paths.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fix = "wait until it has ended, or end it"
            raise PipelineError(f"{paths.name} is being {doing} already", fix=fix) from None
        yield folder


@contextlib.contextmanager
def explain_disk_full(place: Path, kept: str) -> Iterator[None]:
    """A disk without space is no bug, and says so; `kept` says what is not lost by it."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        fix = f"make room and run again: what is finished stays, and {kept} is whole"
        raise PipelineError(f"the disk is full ({error.strerror or error})", place=str(place), fix=fix) from error
