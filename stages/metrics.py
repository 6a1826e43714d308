"""Read the scores of a pipeline's last validation."""

from __future__ import annotations

from typing import Any

from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths

TEXTS = ("verdict", "why")


def read_metrics(paths: Paths) -> dict[str, Any]:
    """Return the scores on the test split and the verdict. Raises PipelineError where the file holds something else."""
    metrics = read_json(paths.metrics, *TEXTS, "test", "rows")
    scores = metrics["test"].values() if isinstance(metrics["test"], dict) else [None]
    have_values = all(isinstance(score, dict) and "value" in score for score in scores)
    are_texts = all(isinstance(metrics[key], str) for key in TEXTS)
    if not have_values or not are_texts or not isinstance(metrics["rows"], int):
        fix = "delete it and run the stage that writes it again"
        raise PipelineError("holds no scores", place=str(paths.metrics), fix=fix)
    return {"confidence": 0.95, **metrics}
