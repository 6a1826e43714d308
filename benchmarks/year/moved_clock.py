"""Run a command in a process whose clock is ahead: `python -m benchmarks.year.moved_clock 86400 du --clean`."""

import datetime
import sys
import time

from evergreen.stages.deploy import logged_requests


def move_clock(seconds: float) -> None:
    """Let what decides how old things are read a clock that is `seconds` ahead."""
    read, moved = time.time, datetime.timedelta(seconds=seconds)

    class MovedDatetime(datetime.datetime):
        """What `datetime.now` returns is ahead."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return super().now(tz) + moved

    time.time = lambda: read() + seconds
    logged_requests.datetime = MovedDatetime  # type: ignore[misc]  # for all modules it would be another C layout


def main() -> int:
    move_clock(float(sys.argv[1]))
    from evergreen.cli.main import main as run_command

    return run_command(sys.argv[2:])


if __name__ == "__main__":
    raise SystemExit(main())
