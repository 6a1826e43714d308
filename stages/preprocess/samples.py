"""Sample each split for the checks, so that they cost little however many rows there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from evergreen.data import kinds
from evergreen.data.arrow import decode_array
from evergreen.data.prepared import hash_sample, hash_sample_table, row_groups

if TYPE_CHECKING:
    from evergreen.stages.preprocess.passes import PreparedResult

ROWS = {"train": 10_000, "validation": 2_500, "test": 2_500}  # those with the smallest ids
SHARES = {"train": 16, "validation": 64, "test": 64}  # samples take at most one part in so many of memory_mb
GROUPS = 12  # row groups of a split that are read, evenly spread, if too few rows were kept


@dataclass(frozen=True)
class Samples:
    """Hold samples of the three splits, and what their columns are."""

    train: pa.Table
    validation: pa.Table
    test: pa.Table
    inputs: Mapping[str, str]  # column → kind
    target: str
    kind: str  # of the target
    rows: Mapping[str, int]  # rows of each split; these are some of them
    time: str  # the column that rows were split by; mostly none

    @property
    def tables(self) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Return the samples of the three splits."""
        return self.train, self.validation, self.test

    def as_compared(self) -> Samples:
        """Return the samples with each input as the kind that it is compared as: times as numbers, say."""
        inputs = {name: kind for name, kind in self.inputs.items() if name in self.train.column_names}
        other = {name: kinds.find(kind) for name, kind in inputs.items() if kinds.find(kind).COMPARES_AS}
        tables = {name: _convert(getattr(self, name), other) for name in ("train", "validation", "test")}
        return replace(self, inputs=inputs | {name: kind.COMPARES_AS for name, kind in other.items()}, **tables)


def read_samples(done: PreparedResult, train: pa.Table, *, time: str, memory_mb: int) -> Samples:
    """Read the samples of prepared rows; those of training rows are among `train`."""
    tables, schema = {}, done.reader.schema
    for name, max_rows in ROWS.items():
        groups = row_groups(done.folder, name)
        bytes_a_row = sum(unit.size for unit in groups) / max(1, sum(unit.rows for unit in groups))
        room = max(1, int((memory_mb << 20) / SHARES[name] / max(1.0, bytes_a_row)))
        max_rows = min(max_rows, room)
        if name == "train":
            table = hash_sample_table(train, max_rows)
        else:
            table = hash_sample(done.folder, name, max_rows, kept=done.samples, groups=GROUPS)
        tables[name] = table.combine_chunks()
    target, kind = schema.target, schema.target_kind
    return Samples(**tables, inputs=schema.inputs, target=target, kind=kind, rows=done.rows, time=time)


def _convert(table: pa.Table, other: Mapping[str, kinds.Kind]) -> pa.Table:
    for name, kind in other.items():
        values = kind.to_comparable(decode_array(table.column(name)))
        table = table.set_column(table.column_names.index(name), name, values)
    return table
