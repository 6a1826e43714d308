"""Record what a process does in some steps, as a trace that Perfetto (ui.perfetto.dev) opens."""

from pathlib import Path

import torch

from evergreen.core.files import atomic_write

TRACE = "trace-"  # begins the name of a run's traces, one a rank
WARM_UP, STEPS = 3, 10  # steps before and in a trace


class StepTrace:
    """Trace ten steps into `file` by torch's profiler; None traces nothing."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.n_steps = file, 0
        self._profiler: torch.profiler.profile | None = None

    def step(self) -> None:
        """Count a step; begin and end the trace where it is time."""
        if self.file is None:
            return
        self.n_steps += 1
        if self.n_steps == WARM_UP:
            self._profiler = torch.profiler.profile()
            self._profiler.start()
        elif self.n_steps == WARM_UP + STEPS:
            self.close()

    def close(self) -> None:
        """Write the trace, if one was begun."""
        profiler, self._profiler = self._profiler, None
        if profiler and self.file:
            profiler.stop()
            with atomic_write(self.file) as temporary:
                profiler.export_chrome_trace(str(temporary))
