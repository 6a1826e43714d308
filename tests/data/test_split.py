"""A row never moves between splits, whatever comes, goes or is stirred; equal rows stay together."""

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.prepare import infer, split
from evergreen.data.prepare.check import separate_invalid_rows
from evergreen.data.prepare.split import TEST, TRAIN, VALIDATION
from evergreen.data.row_ids import hash_rows, to_arrow, to_hex

SHARES = (0.2, 0.2)


def table(rows: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "a": random.normal(size=rows).round(2),
            "b": random.integers(0, 5, rows),
            "c": np.array(["p", "q", "r"])[random.integers(0, 3, rows)],
            "y": np.array(["yes", "no"])[random.integers(0, 2, rows)],
        }
    )


def split_by_hash(ids, test_share, validation_share, seed, classes=None):
    return split.split_hashes(split.hash_ids(ids, seed, classes), test_share, validation_share)


def places(rows: pa.Table, key: tuple[str, ...] = ()) -> dict[str, int]:
    kinds = {"a": "number", "b": "number", "c": "category"}
    inputs = {name: kinds[name] for name in rows.column_names if name in kinds}
    found = infer.Schema(inputs, "y", "category")
    good, _ = separate_invalid_rows(
        rows.append_column("_origin", pa.array(map(str, range(len(rows))))), found, required=key
    )
    ids = split.compute_row_ids(good, found, key)
    splits = split_by_hash(ids, *SHARES, seed=0, classes=None if key else good["y"].combine_chunks())
    moved = {}
    for name, place in zip(map(bytes, ids), splits.tolist(), strict=True):
        assert moved.setdefault(name, place) == place, "equal rows in two splits"
    return moved


@pytest.mark.parametrize("seed", range(5))
def test_no_row_moves_when_rows_come_go_or_are_stirred(seed):
    random = np.random.default_rng(seed)
    rows = table(400, seed)
    before = places(rows)
    stirred = rows.take(random.permutation(len(rows)))
    fewer = stirred.slice(0, int(random.integers(50, 350)))
    more = pa.concat_tables([table(300, seed + 100), stirred, stirred.slice(0, 30)])
    assert places(stirred) == before
    assert places(fewer).items() <= before.items()
    assert before.items() <= places(more).items()


def test_neither_the_storage_nor_the_order_of_columns_counts():
    rows = table(100)
    other = rows.select(["y", "c", "b", "a"])
    for name, kind in (("b", pa.float64()), ("a", pa.string()), ("c", pa.dictionary(pa.int32(), pa.string()))):
        other = other.set_column(other.column_names.index(name), name, other[name].cast(kind))
    assert places(other) == places(rows)


def test_rows_of_one_key_stay_together_whatever_else_they_hold():
    rows = table(300).append_column("who", pa.array([f"person {i % 40}" for i in range(300)]))
    before = places(rows, ("who",))
    assert len(before) == 40
    changed = rows.set_column(0, "a", pa.array(np.zeros(300)))
    assert places(changed, ("who",)) == before


def test_shares_and_classes_come_out():
    ids = hash_rows([pa.array([f"row {i}" for i in range(30_000)])], 30_000)
    classes = ["rare" if i % 10 == 0 else "common" for i in range(30_000)]
    found = split_by_hash(ids, 0.2, 0.1, seed=3, classes=pa.array(classes))
    for name, rows in (("rare", 3000), ("common", 27000)):
        mine = found[[held == name for held in classes]]
        deviation = 3.5 * (rows * 0.2 * 0.8) ** 0.5
        assert abs((mine == TEST).sum() - 0.2 * rows) < deviation
        assert abs((mine == VALIDATION).sum() - 0.1 * rows) < deviation


def test_this_very_split_is_frozen():
    """Another hash would move the rows of every pipeline in service."""
    ids, classes = np.arange(24, dtype=np.uint64).reshape(12, 2), pa.array(["a", "b"] * 6)
    found = [split_by_hash(ids, *SHARES, seed=seed, classes=classes).tolist() for seed in (0, 1)]
    assert found == [[1, 2, 0, 0, 1, 0, 0, 2, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0, 2, 0, 1, 2, 0, 0]]


def test_identity_is_frozen():
    rows = pa.table({"a": [1.0], "y": ["yes"], "_origin": ["x"]})
    found = split.compute_row_ids(rows, infer.Schema({"a": "number"}, "y", "category"))
    assert to_hex(to_arrow(found)).to_pylist() == ["82b7a885212cc5faa3065e30f7f8d83b"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2000.0 + i for i in range(10)]),
        pa.array([2000 + i for i in range(10)]),
        pa.array([str(2000 + i) for i in range(10)]),
    ],
)
def test_by_time(column):
    found, cuts = split.split_by_time(column, "year", *SHARES, validate_from=2004, test_from=2008)
    assert found.tolist() == [TRAIN] * 4 + [VALIDATION] * 4 + [TEST] * 2
    assert cuts == {"validate_from": 2004.0, "test_from": 2008.0}
    found, cuts = split.split_by_time(column, "year", *SHARES)
    assert found.tolist() == [TRAIN] * 6 + [VALIDATION] * 2 + [TEST] * 2
    assert cuts == {"validate_from": 2006.0, "test_from": 2008.0}


def test_by_date():
    days = pa.array([f"2024-01-{day:02}" for day in range(1, 11)])
    found, cuts = split.split_by_time(days, "day", *SHARES, validate_from="2024-01-05", test_from="2024-01-09")
    assert found.tolist() == [TRAIN] * 4 + [VALIDATION] * 4 + [TEST] * 2
    again, _ = split.split_by_time(days, "day", *SHARES, **cuts)
    assert again.tolist() == found.tolist()


@pytest.mark.parametrize(
    ("column", "cuts", "says"),
    [
        (["2024-01-01", "soon"], {}, "holds something that is not a time"),
        (["2024-01-01", "2024-01-02"], {"validate_from": "soon"}, "'soon' is not a valid time"),
        ([1.0, 2.0], {"validate_from": "soon"}, "'soon' is not a valid time"),
        ([1.0, 2.0, 3.0], {"validate_from": 3, "test_from": 2}, "not before test_from"),
    ],
)
def test_times_that_cannot_be(column, cuts, says):
    with pytest.raises(DataError, match=says):
        split.split_by_time(pa.array(column), "t", *SHARES, **cuts)


@pytest.mark.parametrize("shares", [(0, 0.2), (0.5, 0.5), (-0.1, 0.2), (0.2, 1.0)])
def test_shares_that_leave_nothing(shares):
    with pytest.raises(DataError, match="leave no rows"):
        split.split_by_time(pa.array([1.0, 2.0]), "t", *shares)
