"""Preprocess raw rows: validate them, split them so that no row ever moves, and fit the spec."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from evergreen.core.messages import list_names, merge_similar
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.data.prepare.config import PreprocessConfig

VERSION = 3  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


def run(
    config: PreprocessConfig,
    paths: Paths,
    *,
    task: str,
    task_options: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write ready/, all or nothing, and described/, a page about the rows, what changed, and where rows went.

    ready/ holds {train,validation,test,quarantine}/part-*.parquet, spec.json, summary.json and schema.json (column
    profiles). Killed at any moment and run again, it continues with the shards that are not finished.

    Raises DataError where columns do not suit the task, no valid row is left or a split is empty.
    """
    from evergreen.core.workdir import exclusive_workdir, explain_disk_full
    from evergreen.data.prepare.column_rules import merge_kinds
    from evergreen.models.registry import check_options, find_task
    from evergreen.stages.preprocess import dealt_splits, fit_spec, passes, publish, raw_sample
    from evergreen.stages.preprocess.checks import run_checks

    job, options = find_task(task), dict(task_options or {})
    check_options(f"task {task}", job, options)
    config = config.model_copy(
        update={"kinds": {**job.GENERATED_INPUTS, **merge_kinds(config.column_rules, config.kinds)}}
    )
    with (
        explain_disk_full(paths.ready, "what was ready before"),
        exclusive_workdir(paths, "preprocess", "prepared") as staged,
    ):
        units = raw_sample.raw_row_groups(paths.raw)
        with store_invalid_rows(paths):
            reader = passes.make_reader(config, units, job)
            reader, unknown = dealt_splits.recall_splits(reader, paths, units, staged / "recalled")
            done = passes.prepare_all(reader, units, config, job, options, staged, paths.root, progress)
        train = fit_spec.training_sample(done, config)
        progress(stage="preprocess", doing="fit the encodings, look for leaks")
        with ThreadPoolExecutor(1) as checks_thread:  # what rows hide does not depend on how they are encoded
            looking = checks_thread.submit(run_checks, done, train, job, config)
            spec = fit_spec.fit_spec(done, config, train, task=task, options=options)
            summary = publish.summarize(done, spec, config.memory_mb)
            rows, summary["leaks"] = looking.result()
        summary |= publish.publish(done, spec, summary, rows, paths)
        shutil.rmtree(staged)
    shutil.rmtree(paths.rejected, ignore_errors=True)
    return _result(summary, done.reader.schema.doubts, unknown)


def _result(summary: Mapping[str, Any], doubts: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    """Return what a run says of its rows, after `notes` on the run itself."""
    grave = [*doubts, *(leak["text"] for leak in summary["leaks"] or () if leak["grave"])]
    return {
        "rows": summary["rows"],
        "quarantined": summary["quarantined"]["rows"],
        "inputs": summary["inputs"],
        "notes": [
            *notes,
            *merge_similar([*_missing_classes(summary["classes"]), *summary["notes"]]),
            *(f"changed since the last version: {change}" for change in summary["changes"]),
            *merge_similar(leak["text"] for leak in summary["leaks"] or ()),
        ],
        **({"beware": " | ".join(merge_similar(grave))} if grave else {}),
    }


def _missing_classes(classes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return a note for each split without rows of a class that is learned; `classes` is split → class → rows."""
    lacking = {split: [name for name in classes["train"] if name not in held] for split, held in classes.items()}
    return [
        f"no {split} row has the class {list_names(names)}: how well it is predicted stays unknown; collect more"
        for split, names in lacking.items()
        if names
    ]


@contextmanager
def store_invalid_rows(paths: Paths) -> Iterator[None]:
    """Store invalid rows in `paths.rejected` where there are too many; what was ready stays."""
    from evergreen.core.errors import DataError
    from evergreen.core.files import atomic_directory, write_json
    from evergreen.data.prepare.invalid_rows import TooManyInvalidRowsError
    from evergreen.data.prepared import QUARANTINED, write

    try:
        yield
    except TooManyInvalidRowsError as error:
        with atomic_directory(paths.rejected) as folder:
            write(error.quarantined.combine_chunks(), folder / QUARANTINED)
            write_json(folder / "why.json", {"why": error.problem, "rows": error.rows, "reasons": error.reasons})
        fix = f"see them with: evergreen quarantine {paths.name}; then {error.fix}"
        raise DataError(error.problem, place=error.place, fix=fix) from error
