"""The order of batches is a function of seed and epoch; ranks share every batch."""

import numpy as np
import pytest

from evergreen.core.errors import DataError
from evergreen.data.feed.batches import InMemoryBatches


def feed(rows=103, size=16, **options) -> InMemoryBatches:
    values = np.arange(rows)
    return InMemoryBatches({"x": values, "target": values * 2}, size, **{"seed": 1, "shuffle": True, **options})


def order(batches: InMemoryBatches, number: int, start: int = 0) -> list[list[int]]:
    return [batch["x"].tolist() for batch in batches.epoch(number, start)]


def test_every_row_comes_once_and_rows_stay_whole():
    seen = np.concatenate([batch["x"] for batch in feed().epoch(0)])
    assert sorted(seen) == list(range(103))
    assert all((batch["target"] == 2 * batch["x"]).all() for batch in feed().epoch(0))


def test_the_order_depends_on_seed_and_epoch_alone():
    assert order(feed(), 3) == order(feed(), 3)
    assert order(feed(), 3) != order(feed(), 4)
    assert order(feed(), 3) != order(feed(seed=2), 3)
    assert order(feed(shuffle=False), 3)[0] == list(range(16))


@pytest.mark.parametrize("start", range(8))
def test_an_epoch_goes_on_where_it_was_left(start):
    assert order(feed(), 5, start) == order(feed(), 5)[start:]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [64, 97, 98, 103, 5])
def test_ranks_share_every_batch_and_take_equal_steps(world, rows):
    alone = order(feed(rows), 2)
    ranks = [order(feed(rows, rank=rank, world=world), 2) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {feed(rows, world=world).steps()}
    for together in zip(alone, *ranks, strict=False):
        whole, parts = together[0], together[1:]
        assert len({len(part) for part in parts}) == 1
        assert [row for part in parts for row in part] == whole[: len(whole) // world * world]


def test_no_batch_of_a_single_row_is_trained_on():
    assert feed(97, 16).steps() == 6
    assert feed(97, 16, shuffle=False).steps() == 7
    assert feed(1, 16).steps() == 1
    assert len(order(feed(97, 16), 0)) == 6


def test_augmentation_resumes_exactly():
    def noisy(batch, random):
        return {**batch, "x": batch["x"] + random.normal(size=len(batch["x"]))}

    assert order(feed(augment=noisy), 1, 4) == order(feed(augment=noisy), 1)[4:]
    assert order(feed(augment=noisy), 1) != order(feed(), 1)


def test_a_batch_too_small_to_share():
    with pytest.raises(DataError, match="cannot be shared by 4"):
        feed(size=2, world=4)
