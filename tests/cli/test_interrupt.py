"""Ctrl-C and SIGTERM are heard wherever they fall."""

import subprocess
import sys

import pytest

SCRIPT = """
import signal, sys, time
from prefect.exceptions import TerminationSignal
from evergreen.cli import application, main

number = int(sys.argv[1])

def terminate(number, _frame):
    raise TerminationSignal(signal=number)

class Finalized:
    def __del__(self):
        signal.raise_signal(number)

def work(arguments):
    Finalized()
    try:
        time.sleep(20)
    except TerminationSignal:
        return 143

signal.signal(signal.SIGTERM, terminate)
application.run_command = work
raise SystemExit(main.main([]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(2, 130), (15, 143)])
def test_a_signal_that_falls_into_a_finalizer_ends_the_command_without_a_word(number, status):
    command = [sys.executable, "-c", SCRIPT, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
