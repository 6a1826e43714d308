"""Keep what a version's requests are compared with: some rows that it was made from, and its answers to test rows.

`.evergreen/monitor/NAME/VERSION/` holds `rows.parquet` (inputs), `answers.parquet` (answers to the last of these rows,
which the model has not learned from) and `reference.json`. It is made once, when the version is monitored first.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.files import atomic_directory, read_json, write_json
from evergreen.core.paths import Paths
from evergreen.data import kinds
from evergreen.data.arrow import decode_array
from evergreen.data.parquet import read_file
from evergreen.data.prepared import hash_sample
from evergreen.data.spec import FeatureSpec
from evergreen.data.unusual_values import UnusualValues
from evergreen.stages.artifacts import CARD, folder_version, load_model
from evergreen.stages.monitor.estimate import ScoreModel
from evergreen.stages.monitor.row_scores import estimate_features, find_metric, score_rows, to_arrays

FORMAT = 1
ROWS = {"train": 2000, "validation": 2000, "test": 4000}  # those with the smallest ids
MAX_BYTES = 64 * 2**20  # of a split's rows, as tensors
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Reference:
    """Hold a version's spec, rows that it was made from, its answers to those it has not learned from, and a model."""

    spec: FeatureSpec
    rows: pa.Table  # inputs
    answers: pa.Table  # to the last rows
    unusual: dict[str, float]  # column → share of these rows' values that training rows do not have
    model: ScoreModel | None
    metric: str = ""  # what its answers are scored by

    @cached_property
    def kinds(self) -> dict[str, kinds.Kind]:
        """Return column → the kind that reads it."""
        fields = self.spec.inputs.values()
        return {name: kinds.kind_of(field, i) for field in fields for i, name in enumerate(field.columns)}

    def restore(self, asked: pa.Table) -> pa.Table:
        """Return logged rows with the types and columns of `rows`; a column that was left out of the log is null."""
        columns = {}
        for name in self.spec.columns:
            kind = self.rows.schema.field(name).type
            if name not in asked.column_names:
                columns[name] = pa.nulls(asked.num_rows, kind)
            elif isinstance(kind, pa.BaseExtensionType):
                columns[name] = pa.ExtensionArray.from_storage(
                    kind, decode_array(asked.column(name)).cast(kind.storage_type)
                )
            else:
                columns[name] = asked.column(name)
        return pa.table(columns)

    def encode(self, rows: pa.Table) -> tuple[dict[str, Array], dict[str, float]]:
        """Return rows as tensors, and column → the share of values that training rows do not have."""
        return _encode(self.spec, rows)


def open_reference(paths: Paths, version: str) -> Reference:
    """Return the reference of a version, made now where there is none. Raises UserError where it cannot be made."""
    folder = paths.monitor / version
    if not (folder / "reference.json").is_file():
        _make(paths, version, folder)
    return read_reference(folder)


def read_reference(folder: Path) -> Reference:
    """Read the reference that `write_reference` made."""
    facts = read_json(folder / "reference.json", "spec", "unusual", "model", "metric", known_format=FORMAT)
    rows, answers = (read_file(folder / f"{name}.parquet") for name in ("rows", "answers"))
    model = ScoreModel(**facts["model"]) if facts["model"] else None
    return Reference(FeatureSpec.from_json(facts["spec"]), rows, answers, facts["unusual"], model, facts["metric"])


def _make(paths: Paths, version: str, folder: Path) -> None:
    from evergreen.stages.engines import versions

    stored = versions.checkout(paths, version)
    card = read_json(stored / CARD, "spec")
    with ExitStack() as stack:
        ready = paths.ready
        if not ready.is_dir() or folder_version(ready) != card.get("data_version"):
            ready = stack.enter_context(versions.checked_out_rows(paths, version))
        write_reference(folder, stored, ready)


def write_reference(folder: Path, stored: Path, ready: Path, max_rows: Mapping[str, int] = ROWS) -> None:
    """Make the reference of the model in the folder `stored` from its prepared rows.

    `max_rows` is split → rows at most; the model has not learned from the last split.
    """
    model = load_model(stored)
    spec = FeatureSpec.from_json(read_json(stored / CARD, "spec")["spec"])
    row_bytes = sum(field.row_bytes for field in spec.inputs.values())
    n_rows = {split: max(1, min(most, MAX_BYTES // max(1, row_bytes))) for split, most in max_rows.items()}
    columns = list(dict.fromkeys([*spec.columns, *spec.target.columns]))
    tables = [_plain(hash_sample(ready, split, n_rows[split], columns)) for split in max_rows]
    answers = pa.table(model.answer(tables[-1]).columns)
    rows = pa.concat_tables(tables, promote_options="permissive").select(spec.columns)
    held_out, unusual = _encode(spec, tables[-1].select(spec.columns))
    truth = tables[-1].column(spec.target.columns[0])
    metric, fitted = find_metric(spec, answers, truth), None
    if (scores := score_rows(spec, metric, answers, truth)) is not None:
        features = estimate_features(to_arrays(answers), held_out, metric)
        fitted = None if features is None else ScoreModel.fit(metric, features, scores)
    with atomic_directory(folder) as new:
        pq.write_table(rows, new / "rows.parquet", compression="zstd")
        pq.write_table(answers, new / "answers.parquet", compression="zstd")
        facts = {"spec": spec.to_json(), "unusual": unusual, "model": fitted and asdict(fitted), "metric": metric}
        write_json(new / "reference.json", {"format": FORMAT, **facts}, sort=False)


def _plain(table: pa.Table) -> pa.Table:
    return pa.table({name: decode_array(table.column(name)) for name in table.column_names})


def _encode(spec: FeatureSpec, rows: pa.Table) -> tuple[dict[str, Array], dict[str, float]]:
    unusual, shares = UnusualValues(with_examples=False), dict[str, float]()
    encoded = spec.encode(rows, target=False, unusual=unusual)
    for finding in unusual.findings.values():
        shares[finding.column] = shares.get(finding.column, 0.0) + finding.values / max(1, rows.num_rows)
    return encoded, shares
