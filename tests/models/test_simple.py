"""What the simplest networks promise: rules by hand, centres where rows are, shares that add up to one."""

from __future__ import annotations

import pytest
import torch

from evergreen.core.errors import ModelError
from evergreen.models.architectures.capsule import margin_loss, route
from evergreen.models.architectures.perceptron import criterion
from evergreen.models.architectures.rbf import kmeans
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer

XOR = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])


def test_a_step_is_rosenblatt_s_correction(network, make):
    """One row at a time: units that are wrong add the input to their weights or take it away; others do not move."""
    made = network("perceptron", "classification", ("number",))
    weights, bias = made.task.head.weight, made.task.head.bias
    w, b = weights.detach().clone(), bias.detach().clone()
    batch = make(("number",), "category", 30)
    for x, y in zip(batch["number"], batch["target"], strict=True):
        made.zero_grad()
        made.architecture.loss({"number": x[None], "target": y[None]}, "all", made.task).backward()
        with torch.no_grad():
            for parameter in (weights, bias):
                parameter -= 0.5 * parameter.grad
        for k in range(3):
            sign = 1.0 if k == y else -1.0
            if sign * float(w[k] @ x + b[k]) <= 0:
                w[k] += 0.5 * sign * x
                b[k] += 0.5 * sign
    torch.testing.assert_close(weights, w)
    torch.testing.assert_close(bias, b)
    assert not torch.equal(w, network("perceptron", "classification", ("number",)).task.head.weight)


def test_a_unit_on_its_threshold_is_wrong():
    z = torch.zeros(1, 2, requires_grad=True)
    criterion(z, torch.tensor([1])).backward()
    assert z.grad.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("rule", ["rosenblatt", "logistic"])
@pytest.mark.parametrize(("truth", "learned"), [([0, 0, 0, 1], True), ([0, 1, 1, 0], False)])
def test_one_layer_learns_and_but_not_exclusive_or(rule, truth, learned):
    from evergreen.models.registry import build

    field = type("Field", (), {"sizes": (), "state": {"values": [[False, True]]}, "shape": (), "kind": "category"})()
    two = type("Field", (), {"sizes": (), "state": {}, "shape": (2,), "kind": "number"})()
    torch.manual_seed(0)
    made = build("perceptron", "classification", {"number": two}, field, rule=rule)
    rows = {"number": XOR.repeat(4, 1), "target": torch.tensor(truth).repeat(4)}
    recipe = TrainingConfig(epochs=40, batch_size=4, learning_rate=0.1, weight_decay=0, keep="best")
    loop = Trainer(made, TensorFeed(rows, 4), rows, recipe)
    loop.run()
    best = max(record["accuracy"] for record in loop.history)
    assert best == 1 if learned else best <= 0.75


def test_an_unknown_rule_is_named(network):
    with pytest.raises(ModelError, match="use rosenblatt or logistic"):
        network("perceptron", "classification", ("number",), rule="hebb")


def test_a_target_without_classes_makes_it_the_delta_rule(network, make):
    made, batch = network("perceptron", "regression", ("number",)), make(("number",), "number", 8)
    loss = made.architecture.loss(batch, "all", made.task)
    assert torch.equal(loss, made.task.loss(made(batch), batch["target"]))


@pytest.mark.parametrize("option", [{"activation": "swish"}, {"norm": "group"}])
def test_an_mlp_names_what_it_knows(network, option):
    with pytest.raises(ModelError, match=r"relu|batch"):
        network("mlp", **option)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "sigmoid"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_an_mlp_bends_as_it_is_told(network, make, activation, norm):
    made, batch = network("mlp", activation=activation, norm=norm, depth=1), make(("number",), "category", 8)
    hidden = made.architecture(batch)[:, 5:]
    assert (hidden.min() < 0) == (activation in ("gelu", "tanh"))


def test_centres_are_those_of_k_means(network, make):
    from sklearn.cluster import KMeans

    torch.manual_seed(0)
    middles = torch.tensor([[0.0, 0, 0, 0, 0], [9, 0, 0, 0, 0], [0, 9, 0, 0, 0], [0, 0, 9, 0, 0]])
    x = middles.repeat_interleave(20, 0) + torch.randn(80, 5)
    made = network("rbf", "classification", ("number",), size=4 / 300)
    feed = TensorFeed({"number": x, "target": torch.zeros(80, dtype=torch.long)}, 16)
    made.architecture.init_from_data(feed.epoch(0))
    theirs = torch.tensor(KMeans(4, n_init=3, random_state=0).fit(x.numpy()).cluster_centers_)
    near = torch.cdist(made.architecture.centres, theirs).min(1)
    assert near.values.max() < 1e-4
    assert sorted(near.indices.tolist()) == [0, 1, 2, 3]
    assert torch.equal(kmeans(torch.ones(3, 5), 4), torch.ones(4, 5)), "fewer different rows than centres"


def test_shares_of_a_vote_add_up_to_one_and_move_to_agreement():
    torch.manual_seed(0)
    votes = torch.randn(2, 6, 3, 4)
    votes[:, :, 1] = votes[:, :1, 1] * 2  # all parts agree about the second capsule
    capsules, shares = route(votes, 3)
    torch.testing.assert_close(shares.sum(2), torch.ones(2, 6))
    assert (shares[:, :, 1] > 0.5).all()
    assert capsules.shape == (2, 3, 4)
    assert (capsules.norm(dim=2) < 1).all()
    torch.testing.assert_close(route(votes, 1)[1], torch.full((2, 6, 3), 1 / 3))


def test_margins_are_nothing_where_lengths_are_right():
    has = torch.tensor([[1, 0]])
    assert margin_loss(torch.tensor([[0.95, 0.05]]), has) == 0
    torch.testing.assert_close(margin_loss(torch.tensor([[0.5, 0.5]]), has), torch.tensor(0.16 + 0.5 * 0.16))


def test_a_table_s_columns_are_tokens_that_matter_each(network, make):
    kinds = ("number", "category", "labels")
    made, batch = network("ft_transformer", "classification", kinds).eval(), make(kinds, "category", 4)
    tokens = made.architecture.tokens(batch)
    assert tokens.shape[:2] == (4, 1 + 5 + 2 + 1)
    changed = {**batch, "category": (batch["category"] + torch.tensor([0, 1])) % 3}
    differ = (made.architecture.tokens(changed) - tokens).abs().sum((0, 2)) > 0
    assert differ.nonzero().flatten().tolist() == [7], "a value of the second category is the second's own"
