"""Prepared rows: read whole or by row groups the same rows come out, and what is missing or damaged is named."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.core.errors import DataError
from evergreen.data import prepared


@pytest.fixture
def split(tmp_path):
    """Two parts of together three row groups."""
    prepared.write(pa.table({"a": range(prepared.ROWS + 5), "b": ["x"] * (prepared.ROWS + 5)}), tmp_path / "train")
    more = pa.table({"a": [-1, -2], "b": ["y", "z"]})
    pq.write_table(more, tmp_path / "train" / "part-00001.parquet")
    return tmp_path


def test_units_hold_what_the_whole_does(split):
    units, whole = prepared.row_groups(split, "train"), prepared.read(split, "train")
    assert [unit.rows for unit in units] == [prepared.ROWS, 5, 2]
    assert all(unit.size > 0 for unit in units)
    assert pa.concat_tables([unit.read() for unit in units]).equals(whole)
    assert units[2].read(["b"]).to_pydict() == {"b": ["y", "z"]}
    assert prepared.read(split, "train", ["b"]).column_names == ["b"]


def test_what_is_missing_or_damaged_is_named(split):
    with pytest.raises(DataError, match="no split 'trian'"):
        prepared.read(split, "trian")
    with pytest.raises(DataError, match="are missing; fetch") as error:
        prepared.row_groups(split, "test")
    assert error.value.place == str(split / "test")
    units, part = prepared.row_groups(split, "train"), split / "train" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:1000])
    for reading in (lambda: prepared.read(split, "train"), lambda: prepared.row_groups(split, "train"), units[0].read):
        with pytest.raises(DataError, match=r"part-00000.parquet: a prepared file is damaged"):
            reading()
