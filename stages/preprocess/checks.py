"""Check prepared rows for leakage and drift, beside the fitting of the spec."""

from typing import Any

import pyarrow as pa

from evergreen.data.prepare.config import PreprocessConfig
from evergreen.models.base import Task
from evergreen.stages.preprocess import leaks, samples
from evergreen.stages.preprocess.passes import PreparedResult


def run_checks(
    done: PreparedResult, train: pa.Table, job: type[Task], config: PreprocessConfig
) -> tuple[samples.Samples, list[dict[str, Any]] | None]:
    """Return samples of the rows, and the leaks found in them as JSON, severe ones first; None if not looked for.

    `train` are many of the training rows, those of smallest ids. Raises PipelineError where something severe is
    found and the pipeline says to stop.
    """
    sampled = samples.read_samples(done, train, time=config.time, memory_mb=config.memory_mb)
    if config.leakage_checks == "off":
        return sampled, None
    hidden = leaks.find_issues(sampled, differ=_differ(done.reader.split_method, job, config))
    if config.leakage_checks == "stop":
        leaks.raise_if_severe(hidden)
    return sampled, [leak.to_json() for leak in hidden]


def _differ(by: str, job: type[Task], config: PreprocessConfig) -> bool:
    """Tell whether the splits differ on purpose: by time, by groups, or by what the task learns from."""
    return by != "identity" or bool(config.id_columns) or job.trainable_rows is not Task.trainable_rows
