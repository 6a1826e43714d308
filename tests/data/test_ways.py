"""No row ever moves, whichever way divides the rows: over versions that grow, shrink and are stirred."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.core.config import build
from evergreen.core.errors import DataError, PipelineError
from evergreen.data.prepare import splitters
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.split import NO_SPLIT, TEST, TRAIN, VALIDATION
from evergreen.data.row_ids import hash_rows

ALIKE = settings(max_examples=25, derandomize=True, deadline=None)
WAYS = {
    "identity": {},
    "group": {"group": "who"},
    "given": {"split_column": "part"},
    "time": {"time": "when", "validate_from": 40, "test_from": 70, "gap": 5},
    "dates": {"time": "day", "validate_from": "2024-02-10", "test_from": "2024-03-11", "gap": "4d"},
}
ROW = st.tuples(st.integers(0, 99), st.integers(0, 12), st.sampled_from(["train", "VAL", "Test", "hold-out", "?"]))


def table(rows) -> pa.Table:
    when, who, part = ([row[place] for row in rows] for place in range(3))
    days = [str(np.datetime64("2024-01-01") + number) for number in when]
    classes = ["yes" if number % 3 else "no" for number in when]
    return pa.table({"when": when, "who": who, "part": part, "day": days, "y": classes})


def ids(rows) -> np.ndarray:
    return hash_rows([pa.array([repr(row) for row in rows], pa.string())], len(rows))


def places(way, rows) -> dict[tuple, int]:
    """Row → its split; a row that comes twice goes the same way twice."""
    made = table(rows)
    found, aside = way.split(made, ids(rows), made["y"].combine_chunks())
    assert set(aside) == set(np.flatnonzero(found == NO_SPLIT).tolist())
    named: dict[tuple, int] = {}
    for row, place in zip(rows, found.tolist(), strict=True):
        assert named.setdefault(row, place) == place
    return named


@pytest.mark.parametrize("name", WAYS)
@ALIKE
@given(versions=st.lists(st.lists(ROW, min_size=1, max_size=30), min_size=2, max_size=4), seed=st.integers(0, 3))
def test_no_row_moves_over_versions(name, versions, seed):
    way = splitters.splitter_from_config(PreprocessConfig(target="y", **WAYS[name], seed=seed))
    seen: dict[tuple, int] = {}
    held: list[tuple] = [(0, 0, "val")]  # some row validates in every version
    for number, came in enumerate(versions):
        held = [*came, *held[number:]][:: -1 if number % 2 else 1]  # some go, others come, all are stirred
        if (0, 0, "val") not in held:
            held.append((0, 0, "val"))
        column = table(held).column(way.column) if way.column else None
        found = places(way.fit(column) if column is not None else way, held)
        assert all(seen.setdefault(row, place) == place for row, place in found.items())


@ALIKE
@given(rows=st.lists(ROW, min_size=1, max_size=60), seed=st.integers(0, 99))
def test_a_group_is_in_one_split(rows, seed):
    found = places(splitters.splitter_from_config(PreprocessConfig(target="y", group="who", seed=seed)), rows)
    for who in {row[1] for row in found}:
        assert len({place for row, place in found.items() if row[1] == who}) == 1


def test_shares_of_groups_come_out():
    rows = [(number % 100, number, "") for number in range(3000)]
    found = np.array(
        list(places(splitters.splitter_from_config(PreprocessConfig(target="y", group="who")), rows).values())
    )
    assert abs((found == TEST).mean() - 0.2) < 0.03
    assert abs((found == VALIDATION).mean() - 0.2) < 0.03


def test_rows_near_a_cut_are_set_aside_with_the_reason():
    way = splitters.splitter_from_config(PreprocessConfig(target="y", **WAYS["dates"]))
    days = [str(np.datetime64("2024-01-01") + number) for number in (35, 36, 39, 40, 65, 66, 69, 70)]
    found, aside = way.split(pa.table({"day": days}), ids(days))
    assert found.tolist() == [TRAIN, NO_SPLIT, NO_SPLIT, VALIDATION, VALIDATION, NO_SPLIT, NO_SPLIT, TEST]
    assert aside[1] == "day: less than 4d before 2024-02-10 or 2024-03-11, where a split begins"


def test_a_column_says_the_split_in_usual_words():
    words = ["Train", "training", "dev", "validation", "VAL", "test", "hold-out", "Test ", "other", "", None]
    found, aside = splitters.splitter_from_config(PreprocessConfig(target="y", split_column="part")).split(
        pa.table({"part": words}), ids(words)
    )
    assert found.tolist() == [TRAIN] * 2 + [VALIDATION] * 3 + [TEST] * 3 + [NO_SPLIT] * 3
    assert aside[8] == "part: names no split; write train, validation or test"


def test_where_no_row_validates_some_of_those_that_train_do():
    words = pa.chunked_array([["train"] * 900 + ["test"] * 100])
    way = splitters.splitter_from_config(
        PreprocessConfig(target="y", split_column="part", validation_fraction=0.1)
    ).fit(words)
    found, aside = way.split(pa.table({"part": words}), ids(range(1000)))
    assert (found[900:] == TEST).all()
    assert not aside
    assert 60 < (found == VALIDATION).sum() < 120
    assert "names no validation rows" in way.notes()[0]
    assert replace(way, draws_validation=False).notes() == []


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"group": "who", "time": "when"}, "group and time each decide which rows test"),
        ({"group": "who", "split_column": "part"}, "group and split_column each decide"),
        ({"gap": "7d"}, "gap needs a split by time"),
        ({"time": "day", "gap": "soon"}, "'soon' is not a valid gap; use a number, or \"30m\""),
        ({"group": "who", "test_from": 3}, "test_from needs a split by time"),
        ({"test_fraction": 0.9}, "leave no rows"),
    ],
)
def test_ways_that_exclude_each_other(said, says):
    with pytest.raises(PipelineError, match=says) as error:
        build(PreprocessConfig, {"target": "y", **said}, "preprocess")
    assert error.value.fix


@pytest.mark.parametrize(
    ("column", "gap", "fix"),
    [("when", "7d", "a number of their units"), ("day", 7, '"12h", "7d"')],
)
def test_a_gap_is_counted_as_the_times_are(column, gap, fix):
    way = splitters.splitter_from_config(PreprocessConfig(target="y", time=column, gap=gap))
    with pytest.raises(DataError, match="not a valid distance") as error:
        way.split(table([(number, 0, "") for number in range(50)]), ids(range(50)))
    assert fix in error.value.fix
