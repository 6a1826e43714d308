"""Measure how fast a run goes and how long it will take, for the screen alone."""

import time
from collections.abc import Callable


class ThroughputMeter:
    """Count rows from its creation on; `rows_done` returns the rows trained so far, of `total_rows`."""

    def __init__(self, rows_done: Callable[[], int], total_rows: int) -> None:
        self.rows_done, self.total_rows = rows_done, total_rows
        self.first, self.started = rows_done(), time.monotonic()
        self.reported = self.started

    def measure(self) -> dict[str, float]:
        """Return samples_per_second and seconds_left."""
        self.reported = time.monotonic()
        done = self.rows_done()
        speed = (done - self.first) / max(1e-9, self.reported - self.started)
        left = max(0, self.total_rows - done) / speed if speed else 0.0
        return {"samples_per_second": speed, "seconds_left": left}
