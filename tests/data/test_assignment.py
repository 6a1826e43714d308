"""Rows are dealt to exact shares of each class, and none moves: over versions that grow, shrink and are stirred."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.core.errors import DataError
from evergreen.data.prepare.assignment import MAX_UNITS, Assignment, class_codes, deal
from evergreen.data.prepare.split import NO_SPLIT, SPLITS, TEST, TRAIN
from evergreen.data.row_ids import hash_rows, hash_strings, hash_to_unit_interval

ALIKE = settings(max_examples=40, derandomize=True, deadline=None)
SHARES = (0.6, 0.2, 0.2)
ROW = st.tuples(st.integers(0, 10_000), st.sampled_from("aaaaabbc"))
ROWS = st.lists(ROW, min_size=1, max_size=80)


def dealt(rows, known=None, shares=SHARES, seed=0, by_class=True):
    """(number, class) of each row → (N,) splits, and the assignment that knows them."""
    known = known or Assignment("")
    words = pa.array([word for _, word in rows])
    ids = hash_rows([pa.array([f"{number} {word}" for number, word in rows])], len(rows))
    hashes = hash_to_unit_interval(ids, seed, hash_strings(words))
    classes = class_codes(pa.chunked_array([words]) if by_class else None, len(rows))
    splits = deal(ids[:, 0], hashes, classes, known.find(ids[:, 0]), shares)
    return splits, known.add(ids[:, 0], splits)


def counts(rows, splits, word):
    mine = splits[[one == word for _, one in rows]]
    return np.bincount(mine, minlength=3), len(mine)


@ALIKE
@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=12), seed=st.integers(0, 9))
def test_each_class_is_within_a_row_of_its_shares_and_so_is_the_whole(sizes, seed):
    rows = [(number, f"class {place}") for place, size in enumerate(sizes) for number in range(size)]
    splits, _ = dealt(rows, seed=seed)
    for place, size in enumerate(sizes):
        found, _ = counts(rows, splits, f"class {place}")
        assert found[TRAIN] > 0
        if size >= 5:
            assert (abs(found - size * np.array(SHARES)) <= 1 + 1e-9).all()
    if min(sizes) >= 5:
        assert (abs(np.bincount(splits, minlength=3) - len(rows) * np.array(SHARES)) < 2).all()


@ALIKE
@given(versions=st.lists(ROWS, min_size=2, max_size=5))
def test_no_row_moves_over_versions_and_equal_rows_stay_together(versions):
    seen, held, known = {}, [], None
    for number, came in enumerate(versions):
        held = [*came, *held[number:], *came[:2]][:: -1 if number % 2 else 1]  # some go, others come or repeat
        splits, known = dealt(held, known)
        for row, split in zip(held, splits.tolist(), strict=True):
            assert seen.setdefault(row, split) == split
    splits, again = dealt([row for rows in versions for row in rows], known)  # those that went come back
    assert all(seen[row] == split for row, split in zip([r for v in versions for r in v], splits.tolist(), strict=True))
    assert repr(again) == repr(known)


@ALIKE
@given(rows=ROWS, seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_count(rows, seed):
    _, known = dealt(rows)
    _, stirred = dealt([rows[place] for place in np.random.default_rng(seed).permutation(len(rows))])
    assert repr(stirred) == repr(known)


def test_shares_stay_exact_while_rows_come_and_go():
    draw, known, held = np.random.default_rng(0), None, []
    for version in range(40):
        came = [(1000 * version + number, draw.choice(["a", "a", "b"])) for number in range(draw.integers(1, 60))]
        held = [*held, *came]
        splits, known = dealt(held, known)
        for word in "ab":
            found, size = counts(held, splits, word)
            if size >= 5:
                assert (abs(found - size * np.array(SHARES)) <= 1 + 1e-9).all(), (version, word)
    held = [row for row, split in zip(held, splits, strict=True) if split != TEST]  # all that tested have gone
    splits, known = dealt([*held, *((-number, "a") for number in range(2000))], known)
    assert abs((splits == TEST).mean() - 0.2) < 0.05, "new rows take the places that are free"


def test_an_uneven_split_by_hash_is_evened_by_new_rows():
    rows = [(number, "ab"[number % 3 == 0]) for number in range(300)]
    units = hash_rows([pa.array([f"{number} {word}" for number, word in rows])], 300)[:, 0]
    uneven = Assignment("").add(units, np.where(np.arange(300) % 2, TEST, TRAIN))
    more = [*rows, *((number, "ab"[number % 3 == 0]) for number in range(300, 900))]
    splits, _ = dealt(more, uneven)
    assert (splits[:300] == np.where(np.arange(300) % 2, TEST, TRAIN)).all()
    found = np.bincount(splits, minlength=3)
    assert abs(found - 900 * np.array(SHARES)).max() <= 2


def groups(sizes):
    """(N, 2) ids of rows of groups of these sizes."""
    names = pa.array([f"group {place}" for place in range(len(sizes))])
    return np.repeat(hash_rows([names], len(sizes)), sizes, axis=0)


@pytest.mark.parametrize("sizes", [[10] * 3, [10] * 5, [40, 30, 20, 10, 5, 5, 5, 5], [7, *[1] * 9], [1] * 50])
def test_groups_stay_whole_and_every_split_has_some(sizes):
    units = groups(sizes)
    classes = np.arange(len(units)) % 2
    splits = deal(units[:, 0], hash_to_unit_interval(units, 0), classes, np.full(len(units), NO_SPLIT), SHARES)
    assert all(len(set(splits[units[:, 0] == unit].tolist())) == 1 for unit in np.unique(units[:, 0]))
    found = np.bincount(splits, minlength=3)
    assert found.all()
    assert (abs(found - len(units) * np.array(SHARES)) <= max(sizes)).all()
    assert found[TRAIN] == found.max()


def test_many_groups_come_near_their_shares_of_each_class():
    draw = np.random.default_rng(0)
    sizes = draw.integers(1, 30, 200)
    units = groups(sizes)
    classes = np.repeat((np.arange(200) % 8 == 0).astype(int), sizes)  # all rows of a group have its class
    splits = deal(units[:, 0], hash_to_unit_interval(units, 0), classes, np.full(len(units), NO_SPLIT), SHARES)
    for number in (0, 1):
        mine = splits[classes == number]
        assert (abs(np.bincount(mine, minlength=3) / len(mine) - SHARES) < 0.05).all()


def test_numbers_are_spread_by_their_size():
    values = np.random.default_rng(0).lognormal(size=400)
    codes = class_codes(pa.chunked_array([values]), 400)
    assert np.bincount(codes).tolist() == [40] * 10
    rows = [(number, str(code)) for number, code in enumerate(codes)]
    splits, _ = dealt(rows)
    for code in range(10):
        assert np.bincount(splits[codes == code], minlength=3).tolist() == [24, 8, 8]
    assert class_codes(pa.chunked_array([np.zeros(400)]), 400).max() <= 9  # all alike
    assert class_codes(None, 3).tolist() == [0, 0, 0]


def test_tables_drawn_from_one_are_split_independently_and_a_few_rows_more_move_few():
    rows, shared, kept = [(number, "a") for number in range(1000)], [], []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(1000)
        tables = [[rows[place] for place in order[:size]] for size in (300, 303)]
        found = [dict(zip(table, dealt(table)[0].tolist(), strict=True)) for table in tables]
        kept.append(np.mean([found[1][row] == split for row, split in found[0].items()]))
        other = dict(zip(rows, dealt(rows)[0].tolist(), strict=True))
        shared.append(np.mean([other[row] == split for row, split in found[0].items()]))
    assert np.median(kept) > 0.98
    assert abs(np.mean(shared) - 0.44) < 0.05, "as often as chance alone: 0.6² + 0.2² + 0.2²"


def test_this_very_order_is_frozen():
    """Another order would deal every table anew whose record is lost."""
    rows = [(number, "ab"[number % 2]) for number in range(20)]
    assert dealt(rows)[0].tolist() == [1, 0, 0, 0, 0, 2, 2, 1, 1, 0, 0, 1, 0, 0, 2, 0, 0, 2, 0, 0]


def test_an_assignment_is_stored_and_a_spoiled_one_is_named(tmp_path):
    path = tmp_path / "splits.parquet"
    for known in (Assignment("a"), Assignment("b", is_full=True), dealt([(number, "a") for number in range(99)])[1]):
        known.write(path)
        assert repr(Assignment.read(path)) == repr(known)
        first = path.read_bytes()
        known.write(path)
        assert path.read_bytes() == first
    assert set(pa.parquet.read_table(path)["split"].to_pylist()) == set(SPLITS)
    path.write_bytes(first[:50])
    with pytest.raises(DataError, match="the record of the splits is damaged") as error:
        Assignment.read(path)
    assert error.value.place == str(path)
    table = pa.table({"unit": pa.array([], pa.uint64())}).replace_schema_metadata({"format": "2"})
    pa.parquet.write_table(table, path)
    with pytest.raises(DataError, match="a newer Evergreen recorded the splits"):
        Assignment.read(path)


def test_a_record_takes_nine_bytes_a_row(tmp_path):
    count = 100_000
    units = hash_rows([pa.array([str(number) for number in range(count)])], count)[:, 0]
    Assignment("").add(units, np.arange(count) % 3).write(tmp_path / "splits.parquet")
    assert (tmp_path / "splits.parquet").stat().st_size < 9.5 * count
    assert MAX_UNITS >= 1_000_000
