"""Forecast the rows of series from the known values before them, future rows one horizon after another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, PipelineError
from evergreen.data.arrow import RowErrors, decode_array, to_float64
from evergreen.data.kinds.series import to_fixed_lists
from evergreen.data.prepare.windows import HISTORY, drop_rows_without_time, make_windows, order_by_time, stack_channels
from evergreen.data.sources import RESERVED
from evergreen.data.spec import MAX_SHOWN
from evergreen.data.unusual_values import UnusualValues
from evergreen.stages.artifacts import Model

MAX_STEP_RATIO = 1.2  # how much a step may exceed the largest known one, or fall below the smallest: months differ less


def forecast(model: Model, table: pa.Table, source: Path, unusual: UnusualValues | None = None) -> dict[str, pa.Array]:
    """Forecast each row of the table; return `prediction`, and `low` and `high` where the model gives an interval.

    A row without a value is a future one. Beyond the horizon a forecast builds on earlier ones and has no interval.
    Raises PipelineError or DataError, naming the row, for values that cannot be read, for gaps before future rows, and
    where no row has the history that it needs.
    """
    history, names, series = _columns(model)
    time, (window, _) = str(model.spec.time), history.shape
    written = history.state.get("written", {})
    try:
        which: dict[str, Any] = {"covariates": names[1:], "series": series, "written": written}
        own = table.select([name for name in table.column_names if name not in RESERVED])
        examples = make_windows(own, time, names[0], window, model.spec.target.shape[0], targets=False, **which)
        groups = order_by_time(table, time, series, written.get(time, ""))
        _check_numbers(table, names, source, written)
        values_NC = stack_channels(table, names, written)
    except DataError as error:
        place = ", ".join(part for part in (str(source), error.place) if part)
        raise DataError(error.problem, place=place, fix=error.fix) from error
    asked = examples.select(list(model.spec.columns))
    answers = model.predict(asked, unusual=unusual) if len(examples) else []
    predicted = {name: np.full(len(table), np.nan) for name in ("prediction", "low", "high")}
    for row, answer in zip(examples.column("_row").to_pylist(), answers, strict=True):
        _write(predicted, [row], answer)
    for rows, moment in groups:
        _check_gaps(table, rows, moment, values_NC[rows, 0], source, time)
        which = {series: table.column(series).take(pa.array(rows[:1]))} if series and len(rows) else {}
        _continue(model, values_NC[rows], rows, predicted, which)
    if len(table) and np.isnan(predicted["prediction"]).all():
        fix = "add the earlier rows to the file"
        problem = f"no row has the {window} known values before it that the model needs"
        raise PipelineError(problem, place=str(source), fix=fix)
    columns = {name: column for name, column in predicted.items() if name == "prediction" or not np.isnan(column).all()}
    return {name: pa.array(column, from_pandas=True) for name, column in columns.items()}


def columns_read(model: Model) -> set[str]:
    """Return the names of the columns that a forecast reads."""
    _, names, series = _columns(model)
    return {str(model.spec.time), *names, series}


def drop_faulty_rows(model: Model, table: pa.Table) -> tuple[pa.Table, np.ndarray, RowErrors]:
    """Return the rows that have a time, values that cannot be read null; their numbers in `table`; and row → fault.

    A value that is missing is no fault: it is what is asked for.
    """
    _, (value, *covariates), series = _columns(model)
    numbered = table.append_column("_row", pa.array(np.arange(len(table))))
    written = model.spec.inputs[HISTORY].state.get("written", {})
    which: dict[str, Any] = {"covariates": covariates, "series": series, "written": written}
    known, faults = drop_rows_without_time(numbered, str(model.spec.time), value, **which)
    missing = {f"{name}: missing" for name in (value, *covariates)}
    rows = known.column("_row").to_numpy()
    return known.drop_columns("_row"), rows, {row: why for row, why in faults.items() if why not in missing}


def _columns(model: Model) -> tuple[Any, list[str], str]:
    """Return the history's field, its columns (the series itself first), and the column that names the series."""
    history = model.spec.inputs[HISTORY]
    others = [name for field in model.spec.inputs.values() for name in field.columns if field is not history]
    return history, list(history.state.get("channels", [model.spec.target_name])), "".join(others)


def _check_numbers(table: pa.Table, names: Sequence[str], source: Path, written: Mapping[str, str]) -> None:
    for name in names:
        _, faults = to_float64(decode_array(table.column(name)), written.get(name, ""))
        if faults:
            row, reason = min(faults.items())
            reason += f" (got {str(table.column(name)[row])[:MAX_SHOWN]!r})"
            fix = "correct the row or leave it out; nothing was written"
            raise PipelineError(f"{name}: {reason}", place=_locate(table, row, source), fix=fix)


def _check_gaps(table: pa.Table, rows: Any, moment: Any, value: Any, source: Path, time: str) -> None:
    """Check that future rows follow with the time steps of the known rows. Raises PipelineError."""
    first, steps = _first_unknown(value), np.diff(moment.astype(np.float64))
    known = steps[: max(0, first - 1)]
    if len(known) < 2:
        return
    for place in range(first, len(value)):
        step = steps[place - 1]
        if not known.min() / MAX_STEP_RATIO <= step <= MAX_STEP_RATIO * known.max():
            before, here = (table.column(time)[int(rows[one])].as_py() for one in (place - 1, place))
            farther = bool(step > known.max())
            raise PipelineError(
                f"{time}: {here} follows {before}, {'farther' if farther else 'nearer'} than known rows are apart",
                place=_locate(table, int(rows[place]), source),
                fix="append a row without a value for each point in time" + " between" * farther,
            )


def _continue(model: Model, values_NC: np.ndarray, rows: Any, predicted: dict[str, Any], which: dict[str, Any]) -> None:
    """Forecast the rows after the last known value of one series, in order of time, and write them to `predicted`."""
    (window, width), horizon = model.spec.inputs[HISTORY].shape, model.spec.target.shape[0]
    values_NC, first = values_NC.copy(), _first_unknown(values_NC[:, 0])
    for start in range(first, len(values_NC), horizon):
        past = values_NC[start - window : start] if start >= window else values_NC[:0]
        if not len(past) or np.isnan(past).any():
            return
        asked = pa.table({HISTORY: to_fixed_lists(past[None] if width > 1 else past[None, :, 0]), **which})
        answer = model.predict(asked)[0]
        if start > first:  # its history was itself predicted, so no interval is known
            answer = {"prediction": answer["prediction"]}
        ahead = rows[start : start + horizon]
        _write(predicted, ahead, answer)
        values_NC[start : start + len(ahead), 0] = answer["prediction"][: len(ahead)]


def _write(predicted: dict[str, Any], rows: Sequence[int], answer: dict[str, Any]) -> None:
    for name, column in predicted.items():
        if name in answer:
            column[rows] = answer[name][: len(rows)]


def _first_unknown(value: Any) -> int:
    """Return the index after the last known value."""
    known = np.flatnonzero(~np.isnan(value))
    return int(known[-1]) + 1 if len(known) else 0


def _locate(table: pa.Table, row: int, source: Path) -> str:
    return f"{source.parent / table.column('_origin')[row].as_py()}"
