"""End a process that makes no step any more, with the stacks of its threads in the log; Ray Train replaces it."""

import faulthandler
from types import TracebackType
from typing import Self


class HangWatch:
    """Watch from the first sign of life on; after `limit_s` seconds without one the process ends. 0 watches nothing."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        faulthandler.cancel_dump_traceback_later()

    def beat(self) -> None:
        """Take note of a sign of life."""
        if self.limit_s:
            faulthandler.dump_traceback_later(self.limit_s, exit=True)
