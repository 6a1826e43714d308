"""Makes raw rows ready to learn from: checked, split so that no row ever moves, and described by a spec fitted on the training rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.artifacts import Paths
from stages.progress import Progress, quiet

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from data.schema import Schema
    from data.spec import Spec

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Params:
    """What is predicted from what, and how rows are split."""

    target: str  # the column to predict
    key: list[str] = field(
        default_factory=list
    )  # columns that say which row is which; else all inputs and the target do
    ignore: list[str] = field(default_factory=list)  # columns to leave out
    kinds: dict[str, str] = field(default_factory=dict)  # column: kind, where the guess is wrong
    test_share: float = 0.2  # of all rows
    validation_share: float = 0.2  # of all rows
    seed: int = 0  # another seed is another split
    time: str = ""  # column of times or years: split by it, the latest rows test
    window: int = 12  # forecasting: how many rows back a model sees
    horizon: int = 1  # forecasting: how many rows ahead it says
    validate_from: str | int | float | None = None  # first time of the validation rows; none: by the shares
    test_from: str | int | float | None = None  # first time of the test rows; none: by the shares


@dataclass(frozen=True)
class Examples:
    """Good rows with the split of each, the quarantined ones, and what a person should know."""

    table: pa.Table
    splits: np.ndarray  # (N,) index into SPLITS
    schema: Schema
    quarantine: pa.Table
    notes: list[str]
    cuts: dict[str, Any]


def run(params: Params, paths: Paths, *, task: str, progress: Progress = quiet) -> dict[str, Any]:
    """Writes ready/{train,validation,test,quarantine}.parquet, spec.json and summary.json, all or nothing.

    Raises DataError where the columns do not suit the task, no good row is left or a split is empty.
    """
    from models.base import task as find_task

    target_kind = find_task(task).TARGET
    raw = read_raw(paths.raw)
    progress(stage="preprocess", rows=len(raw))
    examples = _series(raw, params) if target_kind == "series" else _rows(raw, params, target_kind)
    spec = _fit(examples, params, task)
    summary = _summary(examples, spec)
    _write(paths.ready, examples, spec, summary)
    return {
        "rows": summary["rows"],
        "quarantined": summary["quarantined"]["rows"],
        "inputs": summary["inputs"],
        "notes": summary["notes"],
    }


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


def _rows(raw: pa.Table, params: Params, target_kind: str) -> Examples:
    """Each row of the table is an example."""
    import pyarrow as pa

    from data import schema as schemas
    from data import split
    from data.columns import texts

    schema = schemas.infer(
        raw, params.target, target_kind, given=params.kinds, ignore=params.ignore, key=params.key, time=params.time
    )
    required = [*params.key, *([params.time] if params.time else [])]
    good, bad = schemas.check(raw, schema, required=required)
    _some(good, bad)
    ids = split.identities(good, schema, params.key)
    shares = {"test_share": params.test_share, "validation_share": params.validation_share}
    cuts: dict[str, Any] = {}
    if params.time:
        splits, cuts = split.by_time(
            good.column(params.time),
            params.time,
            validate_from=params.validate_from,
            test_from=params.test_from,
            **shares,
        )
        good = good.append_column("_time", good.column(params.time))
    else:
        classes = texts(good.column(params.target).combine_chunks()).to_pylist() if target_kind == "category" else None
        # rows of one key stay together even when their classes differ
        splits = split.by_identity(ids, seed=params.seed, classes=None if params.key else classes, **shares)
    good = good.append_column("_id", pa.array(ids, pa.string())).drop_columns(
        [name for name in required if name not in schema.kinds]
    )
    notes = [*schema.notes, *_cut_note(params, cuts), *_twins(ids)]
    return _learnable(Examples(good, splits, schema, bad, notes, cuts))


def _series(raw: pa.Table, params: Params) -> Examples:
    """Each point in time with enough known values before it is an example."""
    import numpy as np
    import pyarrow as pa

    from data import split, windows
    from data.columns import plain
    from data.schema import Schema, evenly_spaced, known, quarantine, suits

    if not params.time:
        raise _error("a forecast needs the column that holds the times", "preprocess.time", "say `time: COLUMN`")
    known(raw, [params.target, params.time])
    suits(plain(raw.column(params.target)), params.target, "series")
    points, faults = windows.readable(raw, params.time, params.target)
    table = windows.history_table(points, params.time, params.target, params.window, params.horizon)
    bad = quarantine(raw, faults)
    table = table.append_column("_origin", plain(points.column("_origin")).take(plain(table.column("_row"))))
    _some(table, bad)
    shares = {"test_share": params.test_share, "validation_share": params.validation_share}
    splits, cuts = split.by_time(
        table.column("_time"), params.time, validate_from=params.validate_from, test_from=params.test_from, **shares
    )
    ends, _ = split.by_time(table.column("_until"), params.time, **shares, **cuts)
    torn = np.flatnonzero(splits != ends)
    bad = pa.concat_tables(
        [bad, quarantine(table, dict.fromkeys(torn.tolist(), "its targets reach into the next split"))]
    )
    schema = Schema({windows.HISTORY: "series"}, params.target, "series")
    table = table.drop_columns(["_row", "_until"])
    table = table.append_column("_id", pa.array(split.identities(table, schema), pa.string()))
    notes = [f"the times are not evenly spaced: {params.window} rows back are not always as long ago"]
    notes = _cut_note(params, cuts) + ([] if evenly_spaced(plain(points.column(params.time))) else notes)
    whole = splits == ends
    return _learnable(Examples(table.filter(pa.array(whole)), splits[whole], schema, bad, notes, cuts))


def _some(good: pa.Table, bad: pa.Table) -> None:
    if not len(good):
        worst = Counter(bad.column("reason").to_pylist()).most_common(3)
        why = (
            "; ".join(f"{reason} ({count} rows)" for reason, count in worst)
            or "there are fewer rows than `window` and `horizon` need"
        )
        raise _error(f"no good row is left: {why}", "preprocess", "mend the source, or `ignore` a column")


def _learnable(examples: Examples) -> Examples:
    """Rows of classes that no training row has are set aside; raises DataError where a split is empty."""
    import numpy as np
    import pyarrow as pa

    from data.schema import quarantine

    table, splits, schema = examples.table, examples.splits, examples.schema
    if schema.target_kind == "category":
        classes = np.array(table.column(schema.target).to_pylist(), dtype=object)
        learned = set(classes[splits == 0])
        unlearned = np.array([name not in learned for name in classes], bool) & (splits != 0)
        rows = {int(row): f"{schema.target}: no training row has this class" for row in np.flatnonzero(unlearned)}
        bad = pa.concat_tables([examples.quarantine, quarantine(table, rows)])
        table, splits = table.filter(pa.array(~unlearned)), splits[~unlearned]
        examples = replace(examples, table=table, splits=splits, quarantine=bad)
    for code, name in enumerate(SPLITS):
        if not (splits == code).any():
            counts = ", ".join(f"{split} {int((splits == i).sum())}" for i, split in enumerate(SPLITS))
            fix = (
                "move validate_from and test_from" if examples.cuts else "give more rows, larger shares or another seed"
            )
            raise _error(f"no row is left for the {name} split ({counts})", "preprocess", fix)
    return examples


def _fit(examples: Examples, params: Params, task: str) -> Spec:
    from data.spec import Spec, fit

    train = _part(examples, 0)
    schema = examples.schema
    inputs, target = fit(train, schema.inputs, schema.target, schema.target_kind)
    if schema.target_kind == "series":  # what comes before and after is one quantity: one mean, one deviation
        scale = {name: target.state[name] for name in ("mean", "std")}
        inputs = {name: replace(one, state={**one.state, **scale}) for name, one in inputs.items()}
    rows = {name: len(_part(examples, code)) for code, name in enumerate(SPLITS)}
    return Spec(task, inputs, target, schema.target, params.time or None, rows)


def _part(examples: Examples, code: int) -> pa.Table:
    import pyarrow as pa

    return examples.table.filter(pa.array(examples.splits == code)).combine_chunks()


def _summary(examples: Examples, spec: Spec) -> dict[str, Any]:
    """Counts by split, class and reason."""
    classes: dict[str, dict[str, int]] = {}
    if spec.target.kind == "category":
        for code, name in enumerate(SPLITS):
            counted = Counter(_part(examples, code).column(spec.target_name).to_pylist())
            classes[name] = {str(value): counted[str(value)] for value in spec.target.state["values"][0]}
    reasons = Counter(examples.quarantine.column("reason").to_pylist())
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
        "quarantined": {"rows": len(examples.quarantine), "reasons": dict(reasons)},
        "inputs": examples.schema.inputs,
        "missing": missing,
        "cuts": examples.cuts,
        "notes": examples.notes + filled,
    }


def _write(ready: Path, examples: Examples, spec: Spec, summary: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    from stages.artifacts import replace_folder, write_json

    with replace_folder(ready) as folder:
        for code, name in enumerate(SPLITS):
            pq.write_table(_part(examples, code), folder / f"{name}.parquet", compression="zstd")
        pq.write_table(examples.quarantine.combine_chunks(), folder / "quarantine.parquet", compression="zstd")
        spec.save(folder)
        write_json(folder / "summary.json", summary)


def _cut_note(params: Params, cuts: dict[str, Any]) -> list[str]:
    if not cuts or (params.validate_from is not None and params.test_from is not None):
        return []
    text = ", ".join(f"{name}: {cut}" for name, cut in cuts.items())
    return [f"the cuts in time were taken by shares of the rows and move when rows come; to pin them, say {text}"]


def _twins(ids: list[str]) -> list[str]:
    twins = len(ids) - len(set(ids))
    return [f"{twins} rows repeat another; they are kept, in the same split as it"] if twins else []


def _error(problem: str, place: str, fix: str) -> ValueError:
    from data.spec import DataError

    return DataError(problem, place=place, fix=fix)


if __name__ == "__main__":
    from stages.pipeline import main

    main("preprocess")
