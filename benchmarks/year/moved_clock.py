"""Run a command in a process whose clock is ahead: `python -m benchmarks.year.moved_clock 86400 du --clean`."""

import datetime
import sys
import time


def move_clock(seconds: float) -> None:
    """Let what is imported from now on read a clock that is `seconds` ahead; what files say of themselves stays."""
    read, moved = time.time, datetime.timedelta(seconds=seconds)

    class MovedDatetime(datetime.datetime):
        """What `datetime.now` returns is ahead."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return super().now(tz) + moved

    time.time = lambda: read() + seconds
    datetime.datetime = MovedDatetime  # type: ignore[misc]


def main() -> int:
    move_clock(float(sys.argv[1]))
    from evergreen.cli.main import main as run_command

    return run_command(sys.argv[2:])


if __name__ == "__main__":
    raise SystemExit(main())
