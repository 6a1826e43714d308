"""Makes raw rows ready: checked, split so that no row ever moves, described by a spec fitted on the training rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress

LEAST_MB = 512  # most of it is what Python, torch and Arrow take by themselves


@dataclass(frozen=True)
class Params:
    """What is predicted from what, and how rows are split."""

    target: str  # the column to predict
    key: list[str] = field(
        default_factory=list
    )  # columns that say which row is which; else all inputs and the target do
    ignore: list[str] = field(default_factory=list)  # columns to leave out
    only: dict[str, list[Any]] = field(default_factory=dict)  # column: values; rows with others are left out
    # column: kind, where the guess is wrong; or column: {kind: …, …} with the options of that kind
    kinds: dict[str, str | dict[str, Any]] = field(default_factory=dict)
    # column: {min, max, allowed, pattern, unique, missing, kind, type}: what holds of it; see rules/constraints.py
    schema: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)  # across columns, "end >= start"; a row that breaks one is set aside
    bad_rows: float = 0.2  # largest share of rows that may be set aside; above it nothing is prepared
    test_share: float = 0.2  # of all rows
    validation_share: float = 0.2  # of all rows
    seed: int = 0  # another seed is another split
    noise: float = 0.0  # target images: adds the input `noisy`, them with Gaussian noise of this share of their range
    shrink: int = 1  # target images: adds the input `small`, them with sides this many times shorter; both: `noisy`
    transform: str = ""  # of the target, and of the history it continues: "sqrt" steadies counts
    group: str = ""  # column that says what belongs together (a patient's rows): one split takes all of them
    given: str = ""  # column that says of each row: train, validation or test
    time: str = ""  # column of times or years: split by it, the latest rows test
    gap: str | int | float = 0  # of time, "7d" or units of numbers: rows so close before a cut are set aside
    window: int = 12  # forecasting: how many rows back a model sees
    horizon: int = 1  # forecasting: how many rows ahead it says
    covariates: list[str] = field(default_factory=list)  # forecasting: columns of numbers to see beside the target
    series: str = ""  # forecasting: the column that says which of several series a row belongs to
    weight: str = ""  # column of numbers: how often training sees a row, against others; it is no input
    memory_mb: int = 1024  # ceiling of what preparing holds in memory, in MiB
    validate_from: str | int | float | None = None  # first time of the validation rows; none: by the shares
    test_from: str | int | float | None = None  # first time of the test rows; none: by the shares
    leaks: Literal["report", "stop", "off"] = "report"  # what is done about rows and columns that flatter the scores

    def __post_init__(self) -> None:
        if self.schema or self.rules:
            from evergreen.data.prepare.rules.constraints import sound

            sound(self.schema, self.rules)
        if self.memory_mb < LEAST_MB:
            raise PipelineError(f"memory_mb is {self.memory_mb}", fix=f"write {LEAST_MB} or more, in MiB")
        if not 0 <= self.bad_rows <= 1:
            raise PipelineError(f"bad_rows is {self.bad_rows}", fix="write a share of the rows, 0 to 1")


def run(
    params: Params,
    paths: Paths,
    *,
    task: str,
    task_options: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Writes ready/{train,validation,test,quarantine}/part-*.parquet, spec.json, summary.json and schema.json (what
    the columns held), all or nothing; and described/, a page of that and what changed since it was written last.

    Killed at any moment and run again, it goes on with the shards that are not finished.
    Raises DataError where the columns do not suit the task, no good row is left or a split is empty.
    """
    from evergreen.core.workdir import exclusive_workdir, explain_disk_full
    from evergreen.data.prepare.column_rules import kinds_of
    from evergreen.models.registry import check_options
    from evergreen.models.registry import task as find_task
    from evergreen.stages.preprocess import fit_spec, passes, publish, raw_sample
    from evergreen.stages.preprocess.checks import look

    job, options = find_task(task), dict(task_options or {})
    check_options(f"task {task}", job, options)
    params = replace(params, kinds={**job.MADE, **kinds_of(params.schema, params.kinds)})
    with (
        explain_disk_full(paths.ready, "what was ready before"),
        exclusive_workdir(paths, "preprocess", "prepared") as staged,
    ):
        units = raw_sample.units(paths.raw)
        with rejecting(paths):
            reader = passes.reader(params, units, job)
            done = passes.passed(reader, units, params, job, options, staged, paths.root, progress)
        train = fit_spec.learned(done, params)
        progress(stage="preprocess", doing="fit the encodings, look for leaks")
        with ThreadPoolExecutor(1) as beside:  # what rows hide does not depend on how they are encoded
            looking = beside.submit(look, done, train, job, params)
            spec = fit_spec.spec(done, params, train, task=task, options=options)
            summary = publish.summarised(done, spec, params.memory_mb)
            rows, summary["leaks"] = looking.result()
        summary |= publish.write(done, spec, summary, rows, paths)
        shutil.rmtree(staged)
    shutil.rmtree(paths.rejected, ignore_errors=True)
    grave = [leak["text"] for leak in summary["leaks"] or () if leak["grave"]]
    return {
        "rows": summary["rows"],
        "quarantined": summary["quarantined"]["rows"],
        "inputs": summary["inputs"],
        "notes": [
            *summary["notes"],
            *(f"changed since the last version: {change}" for change in summary["changes"]),
            *(leak["text"] for leak in summary["leaks"] or ()),
        ],
        **({"beware": " | ".join(grave)} if grave else {}),
    }


@contextmanager
def rejecting(paths: Paths) -> Iterator[None]:
    """Where too many rows are bad, they lie in `paths.rejected` to be looked at, and what was ready stays as it was."""
    from evergreen.core.errors import DataError
    from evergreen.core.files import replace_folder, write_json
    from evergreen.data.prepare.invalid_rows import Rejected
    from evergreen.data.prepared import QUARANTINED, write

    try:
        yield
    except Rejected as error:
        with replace_folder(paths.rejected) as folder:
            write(error.aside.combine_chunks(), folder / QUARANTINED)
            write_json(folder / "why.json", {"why": error.problem, "rows": error.rows, "reasons": error.reasons})
        fix = f"look at them with: evergreen quarantine {paths.name}; then {error.fix}"
        raise DataError(error.problem, place=error.place, fix=fix) from error


if __name__ == "__main__":
    from evergreen.stages.pipeline import main

    main("preprocess")
