"""Recommendation and metric learning, by hand on toys."""

from __future__ import annotations

import math

import pytest
import torch

from evergreen.models.registry import build
from evergreen.models.tasks.embedding import Embedding
from evergreen.models.tasks.ranking import Ranking
from evergreen.stages.checking.sample_inputs import Field


def items(count):
    return Field("category", (), (count,), {"values": [[f"item {number}" for number in range(count)]]})


def test_gain_and_hits_by_hand():
    task = Ranking(items(12), 4)
    output = -torch.arange(12.0).expand(3, 12).clone()  # item k has rank k + 1
    rank, target = task.metric_inputs(output, torch.tensor([0, 2, 11]))
    assert rank.tolist() == [1, 3, 12]
    found = task.metrics(rank, target)
    assert found["ndcg_at_10"] == pytest.approx((1 + 1 / math.log2(4) + 0) / 3)
    assert found["hit_rate_at_10"] == pytest.approx(2 / 3)
    assert found["reciprocal_rank"] == pytest.approx((1 + 1 / 3 + 1 / 12) / 3)


def test_items_of_one_score_share_their_places():
    task = Ranking(items(5), 4)
    assert task.metric_inputs(torch.zeros(1, 5), torch.tensor([3]))[0].tolist() == [3]


def test_the_baseline_recommends_what_is_taken_most():
    task = Ranking(items(3), 4)
    output = task.baseline({"target": torch.tensor([2, 2, 1])}, {"target": torch.zeros(2, dtype=torch.long)})
    assert task.decode(output)[0]["prediction"] == "item 2"
    assert list(task.decode(output)[1]["probabilities"]) == ["item 2", "item 1", "item 0"]


def test_the_sampled_loss_estimates_the_whole_one():
    torch.manual_seed(0)
    features, target = torch.randn(16, 8), torch.randint(50, (16,))
    task = Ranking(items(50), 8, whole=10, sampled=40)
    with torch.no_grad():
        whole = task.eval().loss(task(features), target)
        task.train()
        drawn = torch.stack([task.loss(task(features), target) for _ in range(200)]).mean()
    assert task(features).shape == (16, 8)
    assert drawn == pytest.approx(float(whole), abs=0.05)


def test_the_contrastive_loss_by_hand():
    task = Embedding(items(2), 4, temperature=0.5)
    output = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])  # cosines: 0.6 of one class; 0 and 0.8 of two
    pull, far, near = (math.exp(cosine / 0.5) for cosine in (0.6, 0.0, 0.8))
    wanted = -(math.log(pull / (pull + far)) + math.log(pull / (pull + near))) / 2
    assert float(task.loss(output, torch.tensor([0, 0, 1]))) == pytest.approx(wanted, rel=1e-5)


def test_retrieval_and_verification_by_hand():
    task = Embedding(items(2), 4)
    angle = torch.tensor([0.0, 10.0, 45.0, 90.0]).deg2rad()
    facts = task.metric_inputs(torch.stack([angle.cos(), angle.sin()], 1), torch.tensor([0, 0, 1, 0]))
    found = task.metrics(*facts)
    # order of the others from each: 0 → 10, 45, 90; 10 → 0, 45, 90; 45 is alone; 90 → 45, 10, 0
    precise = [(1 + 2 / 3) / 2, (1 + 2 / 3) / 2, 1, (1 / 2 + 2 / 3) / 2]
    assert found["mean_average_precision"] == pytest.approx(sum(precise) / 4, rel=1e-5)
    assert found["recall_at_1"] == pytest.approx(3 / 4)
    # pairs of one class 10°, 80°, 90° against 45°, 35°, 45°: the first lies above all three, the others below
    assert found["verification_auc"] == pytest.approx(1 / 3, abs=0.01)
    assert task.row_scores(*facts).tolist() == pytest.approx(precise, rel=1e-5)


def test_the_threshold_parts_pairs_with_equal_errors():
    task = Embedding(items(2), 4)
    output = torch.tensor([[1.0, 0.0], [0.96, 0.28], [-1.0, 0.0], [-0.96, 0.28]])
    task.threshold.copy_(task.calibrate(*task.metric_inputs(output, torch.tensor([0, 0, 1, 1])))["threshold"])
    assert -0.9 < float(task.threshold) < 0.96
    assert task.decode(output)[0]["same_from"] == float(task.threshold)


def test_a_category_of_many_values_is_embedded_and_recommends_from_as_many_items():
    users = Field("category", (2,), (100_000, 3))
    made = build("linear", "ranking", {"category": users}, items(30_000)).train()
    assert made.architecture.out_features == 32 + 3
    batch = {"category": torch.tensor([[99_999, 2], [5, 0]]), "target": torch.tensor([29_999, 7])}
    made.architecture.loss(batch, "all", made.task).backward()
    assert made.architecture.flat.tables["0_0"].weight.grad[99_999].abs().sum() > 0
    assert made.compute_outputs(batch).shape == (2, 30_000)
