"""End work by SIGKILL before its n-th change of the disk, so that each moment of it can be tried."""

import os
import signal
import sys
from collections.abc import Callable

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def run_killed(work: Callable[[], object], n_changes: int) -> bool:
    """Do the work in a process that is killed before so many changes were made; return whether it was."""
    child = os.fork()
    if not child:
        left = [n_changes]

        def count(event: str, arguments: tuple) -> None:
            is_written = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
            if event in CHANGES or is_written:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)
