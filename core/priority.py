"""Let work that can wait leave the processor to what somebody waits for: training gives way to the endpoint."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

LOWER = 10  # steps of niceness: beside a process of the usual one it gets a tenth of a core that both want
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def lower_priority() -> None:
    """Make this thread, and those that it starts, give way; outside Linux, the whole process."""
    os.nice(LOWER)


def run_at_low_priority(
    function: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
) -> Result:
    """Return the function's result from a thread that gives way; the process stays as it is, for work to come."""
    if sys.platform != "linux":  # there is no way back
        return function(*arguments, **named)
    with ThreadPoolExecutor(1, initializer=lower_priority) as thread:
        return thread.submit(function, *arguments, **named).result()
