"""Look at what the endpoint was asked and answered."""

from typing import Any

from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.pipeline import Pipeline


def look(pipeline: Pipeline, paths: Paths, progress: Progress = no_progress) -> dict[str, Any]:
    """Bring the findings about a pipeline's requests up to date; return them.

    Raises:
        BusyError: another process does it.
    """
    from evergreen.stages.monitor import stage

    return stage.run(pipeline.operation.monitor, paths, progress=progress)
