"""Streamed batches: one order for any number of ranks, exact resumption, the bits that memory would give."""

import shutil
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.core.errors import DataError
from evergreen.data import row_ids
from evergreen.data.feed.batches import (
    complete_row_groups,
    encode_row_groups,
    load_encoded_split,
    max_rows_in_memory,
    shuffle_window_rows,
    training_batches,
)
from evergreen.data.feed.sampler import RowWeights
from evergreen.data.fitting import fit
from evergreen.data.prefetch import prefetch
from evergreen.data.prepared import hash_sample, row_groups
from evergreen.data.spec import FeatureSpec

ROWS, GROUP, PARTS, BATCH = 1000, 64, 3, 32


def table(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    number = pa.array(np.arange(rows) / 7 + 1000 * seed, mask=random.random(rows) < 0.1)
    city = pa.array(random.choice(["Ulm", "Jena", "Kiel"], rows))
    kind = pa.array(random.choice(["rare", "common"], rows, p=[0.1, 0.9]))
    ids = row_ids.to_arrow(random.integers(0, 2**64, (rows, 2), np.uint64))
    weight = pa.array(np.arange(rows) % 4.0)
    return pa.table({"number": number, "city": city, "kind": kind, "_weight": weight, "_id": ids})


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder, rows = tmp_path_factory.mktemp("ready"), {}
    for seed, (split, count) in enumerate({"train": ROWS, "validation": 300, "test": 10}.items()):
        (folder / split).mkdir()
        whole_split, each = table(count, seed), -(-count // PARTS)
        for part in range(PARTS):
            path = folder / split / f"part-{part:05}.parquet"
            pq.write_table(whole_split.slice(part * each, each), path, row_group_size=GROUP)
        rows[split] = count
    train = table(ROWS, 0)
    inputs, target = fit(train, {"number": "number", "city": "category"}, "kind", "category")
    FeatureSpec("classification", inputs, target, "kind", None, rows).save(folder)
    return folder


@pytest.fixture(scope="module")
def stream(ready):
    return partial(training_batches, ready, ["train"], BATCH, window=200, seed=3)


def listed(batches) -> list[list[tuple]]:
    """Each batch as its rows."""
    return [list(zip(*(column.tolist() for column in batch.values()), strict=True)) for batch in batches]


def test_each_row_comes_once_in_an_order_of_the_epochs_own(ready, stream):
    rows = [row for batch in listed(stream().epoch(0)) for row in batch]
    assert sorted(map(repr, rows)) == sorted(map(repr, listed([load_encoded_split(ready, "train")])[0]))
    again = [row for batch in listed(stream().epoch(1)) for row in batch]
    assert again != rows
    assert sorted(map(repr, again)) == sorted(map(repr, rows))
    places = [number for (number, *_), *_ in rows]
    assert abs(np.corrcoef(places, np.arange(len(rows)))[0, 1]) < 0.3  # far parts meet early


def test_a_window_of_all_rows_gives_what_memory_gives(ready, stream):
    held, streamed = training_batches(ready, ["train"], BATCH, window=0, seed=3), stream(window=ROWS)
    assert listed(streamed.epoch(2)) == listed(held.epoch(2))
    first, other = next(streamed.epoch(4)), next(held.epoch(4))
    assert all(first[name].tobytes() == other[name].tobytes() for name in other)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_put_together_are_the_one_feed(stream, world):
    alone = listed(stream().epoch(5))
    ranks = [listed(stream(rank=rank, world=world).epoch(5)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {stream(world=world).steps()} == {len(alone)}
    for batch, *parts in zip(alone, *ranks, strict=True):
        assert len({len(part) for part in parts}) == 1
        assert [row for part in parts for row in part] == batch[: len(batch) // world * world]


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.slow
def test_an_epoch_goes_on_at_any_step_with_any_number_of_ranks(ready, stream, weighed):
    options = {"weigh": RowWeights(FeatureSpec.load(ready), balance=True)} if weighed else {}
    whole_epoch = listed(stream(**options).epoch(1))
    for start in range(len(whole_epoch) + 1):
        assert listed(stream(**options).epoch(1, start)) == whole_epoch[start:]
    second = listed(stream(rank=1, world=2, **options).epoch(1, 7))
    assert second == [batch[len(batch) // 2 : len(batch) // 2 * 2] for batch in whole_epoch[7:]]


def test_an_augmented_stream_resumes_exactly(ready, stream):
    def noisy(batch, random):
        return {**batch, "number": batch["number"] + random.normal(size=batch["number"].shape)}

    assert listed(stream(augment=noisy).epoch(1, 5)) == listed(stream(augment=noisy).epoch(1))[5:]
    held = training_batches(ready, ["train"], BATCH, window=0, seed=3, augment=noisy)
    assert listed(stream(augment=noisy, window=ROWS).epoch(1)) == listed(held.epoch(1))


@pytest.mark.parametrize("size", [0, 200])
def test_balanced_classes_come_equally_often(ready, size):
    fed = training_batches(
        ready,
        ["train", "validation"],
        BATCH,
        window=size,
        seed=3,
        weigh=RowWeights(FeatureSpec.load(ready), balance=True),
    )
    target = np.concatenate([batch["target"] for batch in fed.epoch(0)])
    assert fed.rows == ROWS + 300
    assert abs(target.mean() - 0.5) < 0.02
    other = np.concatenate([batch["number"][batch["target"] == 1] for batch in fed.epoch(0)])
    assert 100 < len(np.unique(other)) <= len(other)  # not one rare row again and again


def test_a_row_comes_as_often_as_its_weight_says(ready):
    weigh = RowWeights(FeatureSpec.load(ready), weighted=True)
    held, streamed = (training_batches(ready, ["train"], BATCH, window=size, seed=0, weigh=weigh) for size in (0, ROWS))
    assert held.rows == ROWS * 3 // 4  # a row without weight is none
    rows = held.drawn(1)
    counts = np.bincount(rows, minlength=ROWS)
    assert all(counts[::4] == 0)
    assert [counts[n::4].sum() for n in (1, 2, 3)] == pytest.approx([125, 250, 375], abs=25)
    assert listed(held.epoch(1)) == listed(streamed.epoch(1))


def test_rows_that_may_not_be_learned_from_are_left_out(ready, stream):
    weigh = RowWeights(FeatureSpec.load(ready), learned=lambda target: target == 1)
    held = training_batches(ready, ["train", "validation"], BATCH, window=0, seed=3, weigh=weigh)
    assert len(np.unique(held.drawn(0))) == len(held.drawn(0)) == held.rows
    fed = stream(weigh=weigh)
    for one, splits in ((held, ("train", "validation")), (fed, ("train",))):
        target = np.concatenate([load_encoded_split(ready, split)["target"] for split in splits])
        seen = np.concatenate([batch["target"] for batch in one.epoch(0)])
        assert one.rows == (target == 1).sum()
        assert len(seen) >= one.rows - 1
        assert (seen == 1).all()


def test_a_number_has_no_classes_to_balance(ready):
    spec = FeatureSpec.load(ready)
    with pytest.raises(DataError, match=r"train\.class_balanced: a target of kind number has no classes"):
        RowWeights(FeatureSpec("regression", {}, spec.inputs["number"], "number", None, {}), balance=True)


def test_the_window_follows_from_memory(ready):
    spec = FeatureSpec.load(ready)
    assert shuffle_window_rows(spec, ready, 1024) == max_rows_in_memory(spec, ("train", "test"), 1024) == 0
    large = replace(spec, rows={**spec.rows, "train": 10**9})
    wide, narrow = (shuffle_window_rows(large, ready, size) for size in (1024, 256))
    assert 10**5 < narrow < wide < 10**8
    assert wide == pytest.approx(4 * narrow, rel=0.01)
    row = 4 + 4 + 8 + 8  # a number, whether it is missing, two whole ones
    assert max_rows_in_memory(large, ("train", "validation"), 1024) == 2**30 // row // 2


def test_a_sample_is_the_rows_of_smallest_identity_whatever_lies_between(ready):
    first = row_ids.from_arrow(table(ROWS, 0)["_id"])[:, 0].tolist()
    found = row_ids.from_arrow(hash_sample(ready, "train", 50, ["_id"])["_id"])[:, 0].tolist()
    assert found == [one for one in first if one in sorted(first)[:50]]
    assert len(hash_sample(ready, "train", ROWS)) == ROWS
    assert len(load_encoded_split(ready, "train", 50)["target"]) == 50


def test_rows_are_encoded_alike_whole_or_in_parts(ready):
    spec, found = FeatureSpec.load(ready), row_groups(ready, "train")
    apart, at_once = encode_row_groups(spec, found), spec.encode(table(ROWS, 0), target=True)
    assert {name: values.tobytes() for name, values in apart.items()} == {
        name: values.tobytes() for name, values in at_once.items()
    }


def test_parts_that_store_their_texts_in_two_ways_are_mixed(ready, tmp_path, stream):
    shutil.copytree(ready, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "train" / "part-00001.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=GROUP, use_dictionary=False)
    assert len({unit.dictionary for unit in row_groups(tmp_path, "train")}) == 2
    mixed = training_batches(tmp_path, ["train"], BATCH, window=200, seed=3)
    assert listed(mixed.epoch(1)) == listed(stream().epoch(1))


@pytest.mark.parametrize(
    ("broken", "said"), [(b"PAR1 and no more", "is damaged"), (None, "part-00001.parquet is missing")]
)
def test_a_part_that_is_damaged_or_gone_is_named(ready, stream, broken, said):
    path = ready / "train" / "part-00001.parquet"
    kept = path.read_bytes()
    try:
        path.write_bytes(broken) if broken else path.unlink()
        with pytest.raises(DataError, match=said) as error:
            stream()
        assert "part-00001.parquet" in str(error.value)
    finally:
        path.write_bytes(kept)


def test_a_part_that_breaks_while_it_is_streamed_is_named_to_the_one_who_reads(ready, stream):
    path = ready / "train" / "part-00002.parquet"
    kept, fed = path.read_bytes(), stream()
    try:
        path.write_bytes(kept[:4] + bytes(len(kept) // 2) + kept[4 + len(kept) // 2 :])
        with pytest.raises(DataError, match=r"part-00002\.parquet: a prepared file is damaged .* run the stage"):
            list(fed.epoch(0))
    finally:
        path.write_bytes(kept)


def test_no_thread_outlives_its_reader(stream):
    before = threading.active_count()
    reading = stream().epoch(0)
    next(reading)
    assert threading.active_count() == before + 1
    reading.close()
    assert threading.active_count() == before
    list(stream().epoch(0))
    assert threading.active_count() == before


def test_work_ahead_keeps_its_distance():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    reading = prefetch(items(), 3)
    assert [next(reading) for _ in range(5)] == [0, 1, 2, 3, 4]
    reading.close()
    assert len(made) <= 5 + 3


def test_every_split_says_when_a_part_is_missing(ready):
    spec = FeatureSpec.load(ready)
    assert sum(unit.rows for unit in complete_row_groups(ready, "validation", spec)) == 300


def test_how_much_is_encoded_at_once_changes_nothing(stream, monkeypatch):
    before = listed(stream(world=2, rank=1).epoch(0, 3))
    monkeypatch.setattr("evergreen.data.feed.stream.MOST", 2)
    assert listed(stream(world=2, rank=1).epoch(0, 3)) == before
