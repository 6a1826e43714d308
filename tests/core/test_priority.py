"""Work that can wait gives way, and leaves no trace in its process."""

import os
import subprocess
import sys

import pytest

from evergreen.core.priority import LOWER, run_at_low_priority

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere niceness is of the whole process")


def niceness():
    return os.getpriority(os.PRIO_PROCESS, 0)


@linux
def test_a_thread_gives_way_and_its_process_does_not():
    before = niceness()
    assert run_at_low_priority(niceness) == min(before + LOWER, 19)
    assert run_at_low_priority(niceness) == min(before + LOWER, 19)
    assert niceness() == before


def test_errors_and_arguments_pass_through():
    assert run_at_low_priority(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        run_at_low_priority(divmod, 7, 0)


@linux
def test_threads_of_a_worker_that_gives_way_do_too():
    program = (
        "import os, threading; from evergreen.core.priority import lower_priority; lower_priority(); "
        "thread = threading.Thread(target=lambda: print(os.getpriority(os.PRIO_PROCESS, 0))); thread.start()"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(shown) == min(niceness() + LOWER, 19)
