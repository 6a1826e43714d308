"""Predict the rows of a file with the released model, checked and encoded as in training."""

import contextlib
import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.errors import DataError, PipelineError
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.core.spreadsheets import CsvWriter
from evergreen.data.sources import open_source
from evergreen.stages.artifacts import Model, load_model
from evergreen.stages.predict.forecast import forecast

ENDINGS = (".csv", ".parquet")


def predict(
    paths: Paths, source: Path, output: Path, progress: Progress = no_progress, *, raw: bool = False
) -> dict[str, Any]:
    """Predict the rows of `source` and write them to `output` with their predictions, completely or not at all.

    The output has the columns of `source`, `prediction`, and for classes a column `p_<class>` each. One record batch is
    in memory at a time; a forecast, whose rows need those before them, takes the whole table. In CSV, texts that a
    spreadsheet would run as a formula get an apostrophe in front, unless they are wanted `raw`.

    Raises PipelineError or DataError for a pipeline without a release, a column that is missing, a row that cannot be
    predicted (named by its line), an output that is neither CSV nor Parquet.
    """
    from evergreen.stages.engines import versions

    _check_output(output)
    version = versions.released(paths.root).get(paths.name)
    if version is None:
        raise PipelineError(f"{paths.name} has no released version", fix=f"make one with: evergreen run {paths.name}")
    if not source.exists():
        raise PipelineError("there is no such file or folder", place=str(source), fix="check the path")
    if output.exists() and output.samefile(source):
        raise PipelineError(f"{output} is the input file", place="--output", fix="name another file")
    batches = open_source(str(source.resolve()), paths.root).read()
    model = load_model(versions.checkout(paths, version))
    if model.spec.time and model.network.task.IS_FORECAST:
        tables = _forecast(model, batches, source)
    else:
        typed = output.suffix.lower() == ".parquet"
        tables = (_answer(model, batch, source, typed) for batch in batches if len(batch))
    rows, n_neutralised = _write(tables, output, progress, raw=raw)
    value = {"pipeline": paths.name, "version": version, "rows": rows, "output": str(output)}
    return value | {"neutralised": n_neutralised}


def _check_output(output: Path) -> None:
    if output.suffix.lower() not in ENDINGS:
        raise PipelineError(f"cannot write {output.name!r}", place="--output", fix="end its name with .csv or .parquet")
    if not output.parent.is_dir():
        raise PipelineError(f"there is no folder {output.parent}", place="--output", fix="make it first")
    if output.is_dir():
        raise PipelineError(f"{output} is a folder", place="--output", fix="give the name of a file")


def _answer(model: Model, batch: pa.RecordBatch, source: Path, typed: bool) -> pa.Table:
    """Append the answers to the batch's columns; `typed` turns text that the model reads as numbers into numbers."""
    table = pa.Table.from_batches([batch])
    _check_readable(table, source)
    own = _source_columns(table)
    try:
        read, faults = model.spec.validate_table(own)
    except DataError as error:
        raise DataError(error.problem, place=str(source), fix=error.fix) from error
    if faults:
        row, reason = min(faults.items())
        place = f"{source.parent / table.column('_origin')[row].as_py()}"
        raise PipelineError(f"{reason}", place=place, fix="correct the row or leave it out; nothing was written")
    for index, name in enumerate(own.column_names if typed else []):
        if name in read.column_names and pa.types.is_string(own.field(name).type):
            own = own.set_column(index, name, read.column(name))
    return _append_columns(own, answer_columns(model.predict(read)), source)


def _check_readable(table: pa.Table, source: Path) -> None:
    if "_fault" not in table.column_names:
        return
    for origin, fault in zip(table.column("_origin").to_pylist(), table.column("_fault").to_pylist(), strict=True):
        if fault:
            fix = "correct the row or leave it out; nothing was written"
            raise PipelineError(fault, place=f"{source.parent / origin}", fix=fix)


def _source_columns(table: pa.Table) -> pa.Table:
    """Select the source's own columns; rows that are files get a column `origin` with their path."""
    own = table.drop_columns([name for name in ("_origin", "_fault") if name in table.column_names])
    files = any(pa.types.is_binary(field.type) for field in own.schema) and "origin" not in own.column_names
    return own.append_column("origin", table.column("_origin")) if files else own


def answer_columns(answers: list[dict[str, Any]]) -> dict[str, pa.Array]:
    """Turn answers into columns: `prediction`, the bounds of an interval, one `p_<class>` for each probability."""
    columns: dict[str, pa.Array] = {}
    for name in answers[0]:
        values = [answer[name] for answer in answers]
        if name == "probabilities":
            columns |= {f"p_{one}": pa.array([value[one] for value in values], pa.float64()) for one in values[0]}
        else:
            columns[name] = pa.array(values)
    return columns


def _append_columns(table: pa.Table, columns: dict[str, pa.Array], source: Path) -> pa.Table:
    for name, column in columns.items():
        if name in table.column_names:
            raise PipelineError(f"there is a column {name!r} already", place=str(source), fix="rename or remove it")
        table = table.append_column(name, column)
    return table


def _forecast(model: Model, batches: Iterator[pa.RecordBatch], source: Path) -> Iterator[pa.Table]:
    """Read the whole table and forecast each row from those before it."""
    table = pa.Table.from_batches(list(batches))
    _check_readable(table, source)
    yield _append_columns(_source_columns(table), forecast(model, table, source), source)


def _write(tables: Iterator[pa.Table], output: Path, progress: Progress, *, raw: bool) -> tuple[int, int]:
    """Write the tables to a temporary file beside `output` and rename it at the end; return (rows, changed cells)."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    rows = n_changed = 0
    writing = _parquet(temporary) if output.suffix.lower() == ".parquet" else _csv(temporary, raw=raw)
    try:
        with contextlib.closing(writing) as writer:
            next(writer)
            for table in tables:
                n_changed = writer.send(table)
                rows += len(table)
                progress(stage="predict", rows=rows)
        if not rows:
            raise PipelineError("there are no rows", fix="give a file with rows")
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return rows, n_changed


def _parquet(path: Path) -> Generator[int, pa.Table, None]:
    """Write the tables sent to it, all of one schema, as Parquet, which holds every text as it is."""
    table = yield 0
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        while True:
            writer.write_table(table.cast(writer.schema))
            table = yield 0


def _csv(path: Path, *, raw: bool) -> Generator[int, pa.Table, None]:
    """Write the tables sent to it as CSV; yield how many cells were changed, lest a spreadsheet runs them."""
    table = yield 0
    kept = [field.name for field in table.schema if not pa.types.is_binary(field.type)]  # a picture's file, say
    texts = [field.name for field in table.schema if pa.types.is_nested(field.type) or _is_tensor(field.type)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file, raw=raw)
        writer.write_rows([kept])
        while True:
            columns = [_to_text(table.column(name), nested=name in texts) for name in kept]
            writer.write_rows(zip(*columns, strict=True))
            table = yield writer.n_changed


def _is_tensor(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType)


def _to_text(column: pa.ChunkedArray, *, nested: bool) -> list[str | None]:
    """Convert a column to text for CSV, lists and structures as JSON."""
    if not nested:
        return column.cast(pa.string()).to_pylist()
    plain = column.combine_chunks()
    values = plain.to_numpy_ndarray().tolist() if _is_tensor(plain.type) else plain.to_pylist()
    return [json.dumps(value, ensure_ascii=False) for value in values]
