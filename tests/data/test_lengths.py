"""Rows of about one length come together, without what is padding in all of them."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.core.errors import DataError
from evergreen.data import row_ids
from evergreen.data.feed.batches import training_batches
from evergreen.data.feed.bucketing import TOGETHER, LengthBucketing
from evergreen.data.fitting import fit
from evergreen.data.spec import FeatureSpec

ROWS, BATCH = 1500, 16


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    random = np.random.default_rng(0)
    texts = [["word"] * 39 + ["end"]] + [
        random.choice(["a", "b", "c"], random.integers(1, 40)) for _ in range(ROWS - 1)
    ]
    tags = [["verb" if word == "a" else "noun" for word in text] for text in texts]
    ids = row_ids.to_arrow(random.integers(0, 2**64, (ROWS, 2), np.uint64))
    table = pa.table({"words": list(map(list, texts)), "tags": tags, "_id": ids})
    (folder / "train").mkdir()
    pq.write_table(table, folder / "train" / "part-00000.parquet", row_group_size=256)
    inputs, target = fit(table, {"words": "text"}, "tags", "tags")
    FeatureSpec("tagging", inputs, target, "tags", None, {"train": ROWS}).save(folder)
    return folder


@pytest.fixture(scope="module")
def make(ready):
    return partial(training_batches, ready, ["train"], BATCH, seed=0, bucket=True)


def listed(batches):
    return [{name: values.tolist() for name, values in batch.items()} for batch in batches]


def rows(batches):
    return sorted(tuple(word for word in row if word) for batch in batches for row in batch["words"].tolist())


def test_the_same_rows_come_with_less_padding(make):
    plain, bucketed = list(make(window=0, bucket=False).epoch(1)), list(make(window=0).epoch(1))
    assert rows(plain) == rows(bucketed)
    real, wide, narrow = (
        [sum(one(batch["words"]) for batch in batches)]
        for batches, one in ((plain, np.count_nonzero), (plain, np.size), (bucketed, np.size))
    )
    assert narrow[0] < 1.1 * real[0] < 0.7 * wide[0]
    assert all(batch["words"].shape == batch["target"].shape for batch in bucketed)
    assert all((batch["words"][:, -1] != 0).any() for batch in bucketed)
    lengths = [batch["words"].shape[1] for batch in bucketed]
    assert np.abs(np.diff(lengths)).mean() > 5  # short and long ones alternate


@pytest.mark.slow
def test_streamed_they_are_those_of_memory_at_any_step_and_for_any_ranks(make):
    held = listed(make(window=0).epoch(2))
    assert listed(make(window=ROWS).epoch(2)) == held
    whole = listed(make(window=600).epoch(2))
    for start in (1, TOGETHER - 1, TOGETHER, len(whole) - 1):
        assert listed(make(window=600).epoch(2, start)) == whole[start:]
        assert listed(make(window=0).epoch(2, start)) == held[start:]
    halves = [list(make(window=600, rank=rank, world=2).epoch(2)) for rank in range(2)]
    for alone, first, second in zip(whole, *halves, strict=True):
        both = [[word for word in row if word] for part in (first, second) for row in part["words"].tolist()]
        assert both == [[word for word in row if word] for row in alone["words"]][: len(both)]
        assert len(first["words"]) == len(second["words"])


def test_rows_without_one_length_are_refused(ready):
    spec = FeatureSpec.load(ready)
    with pytest.raises(DataError, match=r"train\.bucket_by_length: rows have no single length"):
        LengthBucketing(
            FeatureSpec(
                "tagging", {"a": spec.inputs["words"], "b": spec.inputs["words"]}, spec.target, "tags", None, {}
            )
        )
