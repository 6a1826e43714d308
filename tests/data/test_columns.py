"""Numbers as files write them."""

import numpy as np
import pyarrow as pa
import pytest

from evergreen.data.arrow import is_mostly_words, to_float64


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["3,14", "2,7", "-1", "n/a", "1e3"], [3.14, 2.7, -1, None, 1000]),
        (["1.234,5", "2.000", "0,25"], [1234.5, 2000, 0.25]),
        (["0,123", "1,456"], [0.123, 1.456]),
        (["3.14", "2,7"], [3.14, "fault"]),  # one of the two is a slip: which, nobody knows
        (["1,234", "56,789"], ["fault", "fault"]),  # thousands, or decimals: nobody knows
        (["1,2,3", "4,5"], ["fault", "fault"]),
        (["3,5", "three", "2,5"], [3.5, "fault", 2.5]),
    ],
)
def test_decimal_commas_are_read_where_nothing_speaks_against(words, values):
    found, faults = to_float64(pa.array(words))
    assert set(faults) == {row for row, value in enumerate(values) if value == "fault"}
    right = [np.nan if value in (None, "fault") else value for value in values]
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["1", "2.5", None, "3"], False),
        (["a", "b", "3"], True),
        (["a", "2", "3"], False),
        ([None, None], False),
        (["n/a"] * 900 + ["1"] * 100, False),
        (["1"] * 400 + ["x"] * 600, True),
    ],
)
def test_words_are_told_by_a_few(words, says):
    assert is_mostly_words(pa.array(words, pa.string())) == says
