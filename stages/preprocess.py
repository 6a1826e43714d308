"""Makes raw rows ready: checked, split so that no row ever moves, described by a spec fitted on the training rows."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.artifacts import Paths
from stages.progress import Progress, quiet
from stages.settings import PipelineError

if TYPE_CHECKING:
    import pyarrow as pa

    from data.examples import Examples
    from data.spec import Spec
    from models.base import Task

SCHEMA = "schema.json"


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
    # column: {min, max, allowed, pattern, unique, missing, kind, type}: what holds of it; see data/rules.py
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
    validate_from: str | int | float | None = None  # first time of the validation rows; none: by the shares
    test_from: str | int | float | None = None  # first time of the test rows; none: by the shares
    leaks: Literal["report", "stop", "off"] = "report"  # what is done about rows and columns that flatter the scores

    def __post_init__(self) -> None:
        if self.schema or self.rules:
            from data.rules import sound

            sound(self.schema, self.rules)
        if not 0 <= self.bad_rows <= 1:
            raise PipelineError(f"bad_rows is {self.bad_rows}", fix="write a share of the rows, 0 to 1")


def run(
    params: Params,
    paths: Paths,
    *,
    task: str,
    task_options: Mapping[str, Any] | None = None,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Writes ready/{train,validation,test,quarantine}/part-*.parquet, spec.json, summary.json and schema.json (what
    the columns held, and what changed since they were written last), all or nothing.

    Raises DataError where the columns do not suit the task, no good row is left or a split is empty.
    """
    from data import seen
    from data.chosen import chosen
    from data.described import kinds_of
    from data.examples import from_rows, from_series
    from data.spoil import spoiled
    from models.base import Task
    from models.catalogue import check_options
    from models.catalogue import task as find_task

    job, options = find_task(task), dict(task_options or {})
    check_options(f"task {task}", job, options)
    raw = _made(chosen(read_raw(paths.raw), params.only), job.MADE)
    raw = spoiled(raw, params.target, noise=params.noise, shrink=params.shrink)
    params = replace(params, kinds={**job.MADE, **kinds_of(params.schema, params.kinds)})
    progress(stage="preprocess", rows=len(raw))
    with rejecting(paths):
        if "series" in job.TARGETS:
            found = from_series(raw, params)
        else:
            found = from_rows(raw, job.TARGETS, params, from_itself=job.FROM_ITSELF)
    spec = replace(_fit(found, params, task), task_options=options)
    if job.learns_from is not Task.learns_from:
        moved = _moved(found, spec, job)
        learned = moved.part("train")
        spec = replace(_fit(found, params, task, learned), task_options=options, rows=_counts(moved))
        found = moved
    facts = seen.facts(seen.tally(found.table, found.schema.kinds), len(found.quarantine), _before(paths.ready))
    summary = _summary(found, spec)
    summary["notes"] += [f"changed since the last version: {change}" for change in facts["changes"]]
    progress(stage="preprocess", doing="look for leaks")
    _write(paths.ready, found, spec, summary, facts, params)
    shutil.rmtree(paths.rejected, ignore_errors=True)
    return {
        "rows": summary["rows"],
        "quarantined": summary["quarantined"]["rows"],
        "inputs": summary["inputs"],
        "notes": summary["notes"] + [leak["text"] for leak in summary["leaks"]],
    }


@contextmanager
def rejecting(paths: Paths) -> Iterator[None]:
    """Where too many rows are bad, they lie in `paths.rejected` to be looked at, and what was ready stays as it was."""
    from data.field import DataError
    from data.quarantine import Rejected
    from data.ready import QUARANTINED, write
    from stages.artifacts import replace_folder

    try:
        yield
    except Rejected as error:
        with replace_folder(paths.rejected) as folder:
            write(error.aside.combine_chunks(), folder / QUARANTINED)
        fix = f"look at them with: evergreen quarantine {paths.name}; then {error.fix}"
        raise DataError(error.problem, place=error.place, fix=fix) from error


def _made(raw: pa.Table, wanted: Mapping[str, str]) -> pa.Table:
    """The rows with columns that the task needs and the data need not have: column → kind."""
    from data import kinds

    for name, kind in wanted.items():
        if name not in raw.column_names:
            raw = raw.append_column(name, kinds.find(kind).made(raw.column("_origin").to_pylist()))
    return raw


def _moved(examples: Examples, spec: Spec, job: type[Task]) -> Examples:
    """Training rows that the task does not learn from measure instead: one half validates, one half tests. Where a
    group or a column decides they may not: they are set aside."""
    import numpy as np
    import torch

    from data import identity
    from data.split import TEST, TRAIN, VALIDATION

    target = torch.as_tensor(spec.encode(examples.table, target=True)["target"])
    other = ~job(spec.target, 1, **spec.task_options).learns_from(target).numpy()
    half = (identity.from_arrow(examples.table.column("_id"))[:, 0] & np.uint64(1)).astype(bool)
    spare = other & (examples.splits == TRAIN)
    if examples.by in ("group", "given"):
        return examples.without(spare, f"{examples.schema.target}: it is to train, and the task does not learn from it")
    return replace(examples, splits=np.where(spare, np.where(half, TEST, VALIDATION), examples.splits))


def read_raw(folder: Path) -> pa.Table:
    """All collected rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from data.spec import DataError

    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise DataError("nothing was collected yet", place=str(folder), fix="run the stage `collect`")
    try:
        return pa.concat_tables([pq.read_table(part) for part in parts])
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"a collected file is damaged ({str(error).splitlines()[0]})",
            place=str(folder),
            fix="run the stage `collect` again",
        ) from error


def _fit(examples: Examples, params: Params, task: str, learned: pa.Table | None = None) -> Spec:
    from data.schema import kind_options
    from data.spec import Spec, fit

    schema = examples.schema
    train, options = examples.part("train"), {**kind_options(params.kinds), **schema.options}
    kinds = (schema.inputs, schema.target, schema.target_kind)
    inputs, target = fit(train, *kinds, params.transform, options, learned)
    if schema.target_kind == "series":  # what comes before and after is one quantity: one mean, one deviation
        from data.windows import HISTORY, steps_apart

        history = inputs[HISTORY]
        scale = {name: target.state[name] + history.state[name][1:] for name in ("mean", "std")}
        names = {"channels": [schema.target, *params.covariates]} if params.covariates else {}
        inputs = {**inputs, HISTORY: replace(history, state={**history.state, **scale, **names})}
        target = replace(target, state={**target.state, "naive": steps_apart(train, schema.target)})
    return Spec(task, inputs, target, schema.target, params.time or None, _counts(examples))


def _counts(examples: Examples) -> dict[str, int]:
    return {name: len(examples.part(name)) for name in ("train", "validation", "test")}


def _summary(examples: Examples, spec: Spec) -> dict[str, Any]:
    """Counts by split, class and reason, and what was done about missing values."""
    classes: dict[str, dict[str, int]] = {}
    if spec.target.kind == "category":
        for name in spec.rows:
            held = Counter(examples.part(name).column(spec.target_name).to_pylist())
            classes[name] = dict(sorted(held.items()))
    reasons = dict(Counter(examples.quarantine.column("reason").to_pylist()))
    missing = {name: examples.table.column(name).null_count for name in spec.columns}
    missing = {name: count for name, count in missing.items() if count}
    filled = [
        f"column '{name}': {count} missing values are filled by the training median"
        for name, count in missing.items()
        if examples.schema.inputs[name] == "number"
    ]
    return {
        "rows": spec.rows,
        "classes": classes,
        "quarantined": {"rows": len(examples.quarantine), "reasons": reasons},
        "inputs": examples.schema.inputs,
        "missing": missing,
        "by": examples.by,
        "cuts": examples.cuts,
        "notes": examples.notes + filled,
    }


def _before(ready: Path) -> dict[str, Any] | None:
    """What the columns held when rows were prepared last."""
    from stages.artifacts import read_json

    path = ready / SCHEMA
    return read_json(path) if path.is_file() else None


def _write(
    ready: Path, examples: Examples, spec: Spec, summary: dict[str, Any], facts: dict[str, Any], params: Params
) -> None:
    from data.ready import QUARANTINED, write
    from stages.artifacts import replace_folder, write_json
    from stages.checking.leaks import look

    with replace_folder(ready) as folder:
        for name in spec.rows:
            write(examples.part(name), folder / name)
        write(examples.quarantine.combine_chunks(), folder / QUARANTINED)
        spec.save(folder)
        summary["leaks"] = look(folder, spec, summary, params)
        write_json(folder / "summary.json", summary)
        write_json(folder / SCHEMA, facts, sort=False)  # columns in their order


if __name__ == "__main__":
    from stages.pipeline import main

    main("preprocess")
