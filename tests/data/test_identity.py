"""What a row is: the same in every storage, another for another value, and no two rows of many alike."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from evergreen.data import row_ids

TEXTS = ["", "a", "eight by", "nine byte", None, "é" * 300, "x" * 256, "x" * 257]


def ids(*columns: pa.Array) -> np.ndarray:
    return row_ids.hash_rows(columns, len(columns[0]))


def test_it_is_splitmix():
    """The first numbers that SplitMix64 gives for the seed 1234567."""
    lane = np.array([1234567], np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    row_ids._mix(lane)
    assert lane.tolist() == [6457827717110365317]


@pytest.mark.parametrize(
    "other",
    [
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.large_string()),
        pa.array([text and text.encode() for text in TEXTS], pa.binary()),
        pa.concat_arrays([pa.array(["before", None]), pa.array(TEXTS)]).slice(2),
        [text if text is None else text.encode() for text in TEXTS],
    ],
)
def test_storage_does_not_count(other):
    assert (ids(pa.array(TEXTS)) == ids(other)).all()


def test_numbers_that_are_equal_have_one_identity():
    one = ids(pa.array([0.0, 3.0, None]))
    for other in (pa.array([-0.0, 3.0, float("nan")]), pa.array([0.0, 3.0, None], pa.float32())):
        assert (one == ids(other)).all()


def test_every_value_and_its_place_counts():
    words = [f"{'w' * (number % 40)}{number}" for number in range(20_000)]
    numbers = np.arange(20_000.0)
    for lane in ids(pa.array(words)).T, ids(pa.array(numbers)).T:
        assert all(len(np.unique(half)) == 20_000 for half in lane)
    one, other = pa.array(["a", "b"]), pa.array(["b", "a"])
    assert (ids(one, other)[0] != ids(one, other)[1]).all()
    assert (ids(pa.array(["a"]), pa.array([""])) != ids(pa.array([""]), pa.array(["a"]))).all()
    assert (ids(pa.array(["a"]), pa.array([None], pa.string())) != ids(pa.array(["a"]), pa.array([""]))).all()


def test_they_are_uniform():
    found = row_ids.hash_to_unit_interval(ids(pa.array(np.arange(50_000.0))), 7)
    counts = np.bincount((found * 10).astype(int))
    assert np.abs(counts - 5_000).max() < 5 * 5_000**0.5
    assert (found != row_ids.hash_to_unit_interval(ids(pa.array(np.arange(50_000.0))), 8)).all()


def test_the_column_is_sixteen_bytes_a_row():
    held = ids(pa.array(["a", "b", "c"]))
    column = row_ids.to_arrow(held)
    assert column.type == pa.binary(16)
    np.testing.assert_array_equal(row_ids.from_arrow(pa.chunked_array([column.slice(1), column[:1]])), held[[1, 2, 0]])
    assert row_ids.to_hex(column)[0].as_py() == held[0].astype("<u8").tobytes().hex()


def test_a_long_text_is_hashed_by_its_bytes():
    long = row_ids._values(pa.array(["x" * 257]))[:, 0]
    assert long.tobytes() == hashlib.blake2b(b"x" * 257, digest_size=16).digest()


def test_no_rows():
    assert ids(pa.array([], pa.string()), pa.array([], pa.float64())).shape == (0, 2)
    assert row_ids.from_arrow(pa.chunked_array([], row_ids.ID)).shape == (0, 2)
