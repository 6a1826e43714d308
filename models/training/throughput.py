"""How fast a run goes and how long it will take yet: for the screen, never for a decision."""

from __future__ import annotations

import time
from collections.abc import Callable


class ThroughputMeter:
    """Counts rows from a call of `run` on. `rows_done` gives the rows trained so far, `rows_in_all` where that ends."""

    def __init__(self, rows_done: Callable[[], int], rows_in_all: int) -> None:
        self.rows_done, self.rows_in_all = rows_done, rows_in_all
        self.first, self.begun = rows_done(), time.monotonic()
        self.reported = self.begun

    def now(self) -> dict[str, float]:
        """samples_per_second and seconds_left."""
        self.reported = time.monotonic()
        done = self.rows_done()
        speed = (done - self.first) / max(1e-9, self.reported - self.begun)
        left = max(0, self.rows_in_all - done) / speed if speed else 0.0
        return {"samples_per_second": speed, "seconds_left": left}
