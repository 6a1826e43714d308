"""Predict the rows of a file with the released model, checked and encoded as in training."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, PipelineError
from evergreen.core.files import atomic_write
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.data.arrow import RowErrors
from evergreen.data.sources import open_source
from evergreen.data.spec import FeatureSpec
from evergreen.data.unusual_values import UnusualValues
from evergreen.models.answers import Objects, mark_abstentions
from evergreen.stages.artifacts import Model, load_model
from evergreen.stages.coverage import Coverage
from evergreen.stages.predict.forecast import columns_read, drop_faulty_rows, forecast
from evergreen.stages.predict.rejected_rows import ENDING, RejectedRows, append_columns, open_rejected, unreadable_rows
from evergreen.stages.predict.table_writers import write_csv, write_parquet

if TYPE_CHECKING:
    from evergreen.stages.pipeline import Pipeline

ENDINGS = (".csv", ".parquet")
BATCH = 1024  # rows that are encoded at once
PREFIX = "answer_"  # of the answers' columns where the file has a column of the name of one


def predict(
    paths: Paths,
    source: Path,
    output: Path,
    progress: Progress = no_progress,
    *,
    raw: bool = False,
    on_error: str = "stop",
    coverage: float = 0.0,
) -> dict[str, Any]:
    """Predict the rows of `source` and write them to `output` with their predictions, completely or not at all.

    The output has the columns of `source`, `prediction`, and for classes a column `p_<class>` each; these begin with
    `answer_` where the file has a column of such a name. One record batch is in memory at a time; a forecast, whose
    rows need those before them, takes the whole table. In CSV, texts that a spreadsheet would run as a formula get an
    apostrophe in front, unless they are wanted `raw`. With `on_error="skip"` rows that cannot be predicted are written
    to OUTPUT.rejected.csv, each with its reason, and the others are answered. With a `coverage` answers are made as
    wide as holds for that share of rows: `low` and `high` of numbers, the `set` of classes.

    Raises PipelineError or DataError for a pipeline without a release, a column that is missing, a row that cannot be
    predicted (named by its line), an output that is neither CSV nor Parquet.
    """
    from evergreen.stages.engines import versions

    _check_output(output, source)
    version = versions.released(paths.root).get(paths.name)
    if version is None:
        raise PipelineError(f"{paths.name} has no released version", fix=f"make one with: evergreen run {paths.name}")
    opened = open_source(str(source.resolve()), paths.root)
    settings = _settings(paths)
    opened.encoding = settings.collect.encoding if settings and opened.READS_TEXT else ""
    model = _load_model(paths, version, coverage, settings.deploy.abstain if settings else 0.0)
    with atomic_write(output) as temporary:
        with open_rejected(source, output, skip=on_error == "skip", raw=raw) as rejected:
            call = _Call(model, source, rejected, typed=output.suffix.lower() == ".parquet")
            rows, n_neutralised = _write(call.answer(opened.read()), output, temporary, progress, raw=raw)
            if not rows and not rejected.rows:
                raise PipelineError("there are no rows", place=str(source), fix="give a file with rows")
        rejected_file = f"{output}{ENDING}" if rejected.rows else None
        if not rows:
            problem = f"none of the {rejected.rows:,} rows can be answered"
            raise PipelineError(problem, place=str(source), fix=f"{rejected_file} says why; no answer was written")
    value = {"pipeline": paths.name, "version": version, "rows": rows, "output": str(output)}
    value |= {"neutralised": n_neutralised, "rejected": rejected.rows, "rejected_file": rejected_file}
    value |= {
        "answers": call.answers,
        "unanswered": call.n_unanswered,
        "notes": [*opened.encodings.values(), *call.unusual.lines()],
    }
    return value | call.unusual.to_json()


def _settings(paths: Paths) -> Pipeline | None:
    """Return what the pipeline's YAML says; None where it cannot be read."""
    from evergreen.stages import pipeline

    with contextlib.suppress(PipelineError):
        return pipeline.read(paths.name, paths.root)
    return None


def _load_model(paths: Paths, version: str, share: float, least: float) -> Model:
    """Load a version whose answers hold for a share of rows and abstain below a probability, where either is not 0.

    Raises PipelineError where the release stores nothing by which they could be held.
    """
    from evergreen.stages.engines import versions

    model, coverage = load_model(versions.checkout(paths, version)), None
    if share:
        coverage = Coverage.load(model.network.task, versions.checkout_predictions(paths, version))
        if coverage is None:
            problem = "the release stores no answers to test rows by which a coverage could be held"
            fix = "leave it out, or release a number, a forecast or one class"
            raise PipelineError(problem, place="--coverage", fix=fix)

    def extend(answers: Objects) -> Objects:
        answers = mark_abstentions(answers, least)
        return coverage.widen(answers, share) if coverage else answers

    return dataclasses.replace(model, extend=extend) if share or least else model


def _check_output(output: Path, source: Path) -> None:
    """Raise PipelineError where `output` cannot be written, or would replace the input."""
    if output.suffix.lower() not in ENDINGS:
        raise PipelineError(f"cannot write {output.name!r}", place="--output", fix="end its name with .csv or .parquet")
    if not output.parent.is_dir():
        raise PipelineError(f"there is no folder {output.parent}", place="--output", fix="make it first")
    if output.is_dir():
        raise PipelineError(f"{output} is a folder", place="--output", fix="give the name of a file")
    if not source.exists():
        raise PipelineError("there is no such file or folder", place=str(source), fix="check the path")
    for path in (output, output.with_name(output.name + ENDING)):
        if path.exists() and path.samefile(source):
            problem = f"{path} is the input file" if path == output else f"the input file would be {output}'s {ENDING}"
            raise PipelineError(problem, place="--output", fix="name another file")


@dataclass
class _Call:
    """Answer one file: hold the model, the rows that are set aside, and what is counted."""

    model: Model
    source: Path
    rejected: RejectedRows
    typed: bool  # whether text that the model reads as numbers becomes numbers
    unusual: UnusualValues = field(default_factory=UnusualValues)
    answers: list[str] = field(default_factory=list)  # the names of the answers' columns
    n_unanswered: int = 0  # rows of a series without the history that a forecast needs

    def answer(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        """Yield the rows of the source with their answers."""
        if self.model.spec.time and self.model.network.task.IS_FORECAST:
            yield from self._forecast(pa.Table.from_batches(list(batches)))
            return
        for batch in batches:
            yield from self._predict(pa.Table.from_batches([batch]))

    def _predict(self, table: pa.Table) -> Iterator[pa.Table]:
        own, spec = _source_columns(table), self.model.spec
        try:
            read, faults = spec.validate_table(own)
        except DataError as error:
            raise DataError(error.problem, place=str(self.source), fix=error.fix) from error
        faults |= unreadable_rows(table)
        if self.rejected.are_skipped:
            sound = np.setdiff1d(np.arange(len(table)), list(faults))
            faults |= _unencodable_rows(spec, read.take(pa.array(sound, pa.int64())), sound)
        kept = self.rejected.remove(table, faults)
        if not kept.any():
            return
        if not kept.all():
            own, read = own.filter(pa.array(kept)), read.filter(pa.array(kept))
        for index, name in enumerate(own.column_names if self.typed else []):
            is_text = name in read.column_names and pa.types.is_string(own.field(name).type)
            if is_text and not pa.types.is_string(read.field(name).type):  # 1.10 in a column of texts stays so
                own = own.set_column(index, name, read.column(name))
        self._ignore(own, {*spec.columns, spec.target_name, spec.time})
        yield self._join(own, self.model.answer(read, unusual=self.unusual).columns)

    def _forecast(self, table: pa.Table) -> Iterator[pa.Table]:
        """Forecast each row from those before it; a row whose value cannot be read keeps its place in time."""
        faults, known, rows = unreadable_rows(table), table, np.arange(len(table))
        if self.rejected.are_skipped:
            known, rows, faults = drop_faulty_rows(self.model, table)
        kept = self.rejected.remove(table, faults)
        predicted = forecast(self.model, known, self.source, self.unusual)
        own = self._join(_source_columns(table.take(pa.array(rows, pa.int64()))), predicted)
        own = own.filter(pa.array(kept[rows]))
        self.n_unanswered = own.column(self.answers[0]).null_count
        self._ignore(own, {*columns_read(self.model), *self.answers})
        if len(own):
            yield own

    def _join(self, own: pa.Table, answers: dict[str, pa.Array]) -> pa.Table:
        joined = append_columns(own, answers, PREFIX)
        self.answers = joined.column_names[-len(answers) :]
        return joined

    def _ignore(self, own: pa.Table, read: Set[str | None]) -> None:
        self.unusual.ignore([name for name in own.column_names if name not in read], len(own))


def _unencodable_rows(spec: FeatureSpec, read: pa.Table, rows: np.ndarray) -> RowErrors:
    """Return row → why it cannot be encoded, found by halves; `rows` are the numbers of the rows of `read`."""
    if not len(rows):
        return {}
    try:
        for start in range(0, len(rows), BATCH):
            spec.encode(read.slice(start, BATCH), target=False)
        return {}
    except DataError as error:
        if len(rows) == 1:
            return {int(rows[0]): ": ".join(filter(None, [error.place.removeprefix("row 0, "), error.problem]))}
    half = len(rows) // 2
    first = _unencodable_rows(spec, read.slice(0, half), rows[:half])
    return first | _unencodable_rows(spec, read.slice(half), rows[half:])


def _source_columns(table: pa.Table) -> pa.Table:
    """Select the source's own columns; rows that are files get a column `origin` with their path."""
    own = table.drop_columns([name for name in ("_origin", "_fault") if name in table.column_names])
    files = any(pa.types.is_binary(field.type) for field in own.schema) and "origin" not in own.column_names
    return own.append_column("origin", table.column("_origin")) if files else own


def _write(
    tables: Iterator[pa.Table], output: Path, temporary: Path, progress: Progress, *, raw: bool
) -> tuple[int, int]:
    """Write the tables to `temporary` in the format of `output`; return (rows, changed cells)."""
    rows = n_changed = 0
    writing = write_parquet(temporary) if output.suffix.lower() == ".parquet" else write_csv(temporary, raw=raw)
    with contextlib.closing(writing) as writer:
        next(writer)
        for table in tables:
            n_changed = writer.send(table)
            rows += len(table)
            progress(stage="predict", rows=rows)
    return rows, n_changed
