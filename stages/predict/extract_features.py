"""Extract the features that the released network, or the candidate, computes from rows, as Parquet."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.errors import DataError, PipelineError
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.data.prepared import read
from evergreen.data.row_ids import to_hex
from evergreen.data.sources import open_source
from evergreen.stages.artifacts import CARD, Model, load_model


def extract_features(
    paths: Paths, source: Path | None, output: Path, progress: Progress = no_progress
) -> dict[str, Any]:
    """Write the features of rows to a Parquet file; return the counts and the version.

    The file has the columns feature_0 …, float32. The pipeline's own rows, taken where `source` is None, add `target`,
    `split` and `_id`; rows of `source` add `target`, where there is one, and `_origin`.

    Raises PipelineError or DataError where there is no model, a row cannot be read, or `output` is not a Parquet file.
    """
    if output.suffix.lower() != ".parquet":
        raise PipelineError(f"cannot write {output.name!r}", place="--output", fix="end its name with .parquet")
    if not output.parent.is_dir():
        raise PipelineError(f"there is no folder {output.parent}", place="--output", fix="make it first")
    version, model = _model(paths)
    if source is None:
        tables = [_prepared_rows(paths, model, split) for split in ("train", "validation", "test")]
    else:
        tables = [_read_file(source, paths.root, model)]
    _write(pa.concat_tables(tables), output)
    rows, width = sum(len(table) for table in tables), model.network.architecture.out_features
    progress(stage="features", rows=rows)
    return {"pipeline": paths.name, "version": version, "rows": rows, "features": width, "output": str(output)}


def _model(paths: Paths) -> tuple[str, Model]:
    """Load the released version, else the candidate."""
    from evergreen.stages.engines import versions

    version = versions.released(paths.root).get(paths.name)
    if version:
        return version, load_model(versions.checkout(paths, version))
    if not (paths.candidate / CARD).is_file():
        fix = f"make one with: evergreen run {paths.name}"
        raise PipelineError(f"{paths.name} has neither a released version nor a candidate", fix=fix)
    return "candidate", load_model(paths.candidate)


def _prepared_rows(paths: Paths, model: Model, split: str) -> pa.Table:
    """Compute the features of one split of the prepared rows."""
    try:
        table = read(paths.ready, split)
    except DataError as error:
        fix = f"fetch the rows with `dvc pull`, or give a file with --input, or: evergreen run {paths.name}"
        raise PipelineError(error.problem, place=error.place, fix=fix) from error
    extra_columns = {"split": pa.array([split] * len(table), pa.string()), "_id": to_hex(table.column("_id"))}
    return pa.table({**_features(model, table), "target": table.column(model.spec.target_name), **extra_columns})


def _read_file(source: Path, root: Path, model: Model) -> pa.Table:
    """Compute the features of all rows of a file."""
    table = pa.Table.from_batches(list(open_source(str(source.resolve()), root).read()))
    faults: dict[int, str] = {}
    if "_fault" in table.column_names:
        faults = {row: fault for row, fault in enumerate(table.column("_fault").to_pylist()) if fault}
    if not faults:
        read, faults = model.spec.validate_table(table)
    if faults:
        row, reason = min(faults.items())
        place = str(source.parent / table.column("_origin")[row].as_py())
        raise PipelineError(reason, place=place, fix="correct the row or leave it out; nothing was written")
    target = model.spec.target_name
    known = {"target": table.column(target)} if target in table.column_names else {}
    return pa.table({**_features(model, read), **known, "_origin": table.column("_origin")})


def _features(model: Model, table: pa.Table) -> dict[str, pa.Array]:
    features = model.network.compute_features(model.spec.encode(table, target=False)).numpy()
    return {f"feature_{column}": pa.array(features[:, column]) for column in range(features.shape[1])}


def _write(table: pa.Table, output: Path) -> None:
    """Write the table completely or not at all."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
