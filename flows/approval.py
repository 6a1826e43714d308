"""Tell who decides about a candidate: the verdict of validate, or a person."""

from collections.abc import Mapping
from typing import Any

from evergreen.core.paths import Paths
from evergreen.stages.pipeline import Pipeline


def is_released_by_verdict(pipeline: Pipeline, metrics: Mapping[str, Any]) -> bool:
    """Tell whether the candidate goes into production without a person's word."""
    return bool(metrics["verdict"] == "release" and pipeline.release == "auto")


def waits_for_person(pipeline: Pipeline, paths: Paths, metrics: Mapping[str, Any]) -> bool:
    """Tell whether the candidate proved better and nobody has released it, for a person has to."""
    from evergreen.stages.engines import versions

    asks = metrics["verdict"] == "ask" or (metrics["verdict"] == "release" and pipeline.release == "ask")
    return asks and versions.candidate_version(paths) is None
