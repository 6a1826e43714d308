"""Measure how fast a run goes and how long it will take, for the screen alone."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ThroughputMeter:
    """Count rows from its creation on; `rows_done` returns the rows trained so far, of `total_rows`."""

    def __init__(self, rows_done: Callable[[], int], total_rows: int) -> None:
        self.rows_done, self.total_rows = rows_done, total_rows
        self.first, self.started = rows_done(), time.monotonic()
        self.reported = self.started
        self.seconds: dict[str, float] = {}  # that parts of the work took so far

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the seconds of the block as those of a part of the work."""
        before = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - before

    def shares(self) -> str:
        """Return which share of the time went where: "steps 90%, data 8%, validation 2%"."""
        total = sum(self.seconds.values()) or 1.0
        parts = sorted(self.seconds.items(), key=lambda item: -item[1])
        return ", ".join(f"{part} {seconds / total:.0%}" for part, seconds in parts)

    def measure(self) -> dict[str, float]:
        """Return samples_per_second and seconds_left."""
        self.reported = time.monotonic()
        done = self.rows_done()
        speed = (done - self.first) / max(1e-9, self.reported - self.started)
        left = max(0, self.total_rows - done) / speed if speed else 0.0
        return {"samples_per_second": speed, "seconds_left": left}
