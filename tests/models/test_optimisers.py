"""Which weights decay, which are whose and how fast each learns; and what the schedules and means do."""

from __future__ import annotations

import pytest
import torch

from evergreen.core.errors import ModelError
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.learning_rate import learning_rate_at, plateau_drops
from evergreen.models.training.loss_module import LossModule, mixup_inputs
from evergreen.models.training.optimizers import build_optimizers, layerwise_lr_scales, list_layers
from evergreen.models.training.state import TrainingState
from evergreen.models.training.trainer import Trainer


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop", "muon"])
def test_vectors_do_not_decay_and_every_weight_is_in_one_group(network, optimizer):
    made = network()
    groups = [
        group
        for one in build_optimizers(TrainingConfig(optimizer=optimizer, weight_decay=0.3), made, made.parameters())
        for group in one.param_groups
    ]
    assert {(p.ndim > 1, group["weight_decay"]) for group in groups for p in group["params"]} == {
        (True, 0.3),
        (False, 0),
    }
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, made.parameters()))


def test_muon_takes_hidden_matrices_and_leaves_embeddings_and_the_head(network):
    made = network("mlp", kinds=("number", "category"))
    muon, adamw = build_optimizers(TrainingConfig(optimizer="muon"), made, made.parameters())
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    assert taken
    assert all(p.ndim == 2 for group in muon.param_groups for p in group["params"])
    left = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert {id(p) for p in made.task.parameters()} <= left
    assert not taken & left


def test_layers_nearer_the_input_learn_slower(network):
    made = network("mlp")
    stack = [[*layer.parameters()] for layer in list_layers(made.architecture)]
    assert len(stack) >= 2
    found = layerwise_lr_scales(made, 0.5)
    assert {found[one] for one in made.task.parameters()} == {1.0}
    assert [{found[one] for one in layer} for layer in stack[::-1]] == [{0.5 ** (n + 1)} for n in range(len(stack))]
    assert set(layerwise_lr_scales(made, 1.0).values()) == {1.0}


def test_scales_reach_the_steps(network, make):
    """With plain gradient descent a step is rate times gradient: a tenth of the rate is a tenth of the step."""
    moved = []
    for decay in (1.0, 0.1):
        made = network("mlp", dropout=0.0)
        first = list_layers(made.architecture)[-1]
        before = [p.detach().clone() for p in first.parameters()]
        rows = make(("number",), "category", 16)
        recipe = TrainingConfig(
            epochs=1, batch_size=16, optimizer="sgd", momentum=0, weight_decay=0, schedule="constant", layer_decay=decay
        )
        Trainer(made, TensorFeed(rows, 16), rows, recipe).run()
        moved.append([p.detach() - q for p, q in zip(first.parameters(), before, strict=True)])
    for whole, tenth in zip(*moved, strict=True):
        torch.testing.assert_close(tenth, whole / 10, atol=1e-7, rtol=1e-3)


def test_frozen_weights_do_not_move_and_neither_do_their_norms(network, make):
    made = network("cnn", kinds=("image",), size=0.25)
    made.architecture.add_module("norm", torch.nn.BatchNorm1d(made.architecture.out_features))
    made.architecture.mix.append(made.architecture.norm)
    made.architecture.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    rows = make(("image",), "category", 16)
    Trainer(made, TensorFeed(rows, 8), rows, TrainingConfig(epochs=2, optimizer="adam")).run()
    for name, tensor in made.state_dict().items():
        if not name.startswith("task."):  # what is measured after training, and not learned
            assert torch.equal(tensor, before[name]) == name.startswith("architecture."), name


def test_one_cycle_climbs_for_a_third_and_falls_to_nothing():
    recipe = TrainingConfig(learning_rate=1.0, schedule="one_cycle")
    made = [learning_rate_at(recipe, step, 100) for step in range(101)]
    assert made[0] == pytest.approx(0.04)
    assert made[30] == max(made) == 1.0
    assert made[:31] == sorted(made[:31])
    assert made[30:] == sorted(made[30:], reverse=True)
    assert made[100] == pytest.approx(0)


def test_a_plateau_lets_the_rate_fall_when_validation_stands_still():
    recipe = TrainingConfig(learning_rate=1.0, schedule="plateau", plateau_patience=2, warmup_share=0)
    assert plateau_drops(recipe, [1, 2, 3, 4]) == 0
    assert plateau_drops(recipe, [1, 2, 2]) == 0
    assert plateau_drops(recipe, [1, 2, 2, 1]) == 1
    assert plateau_drops(recipe, [1, 2, 2, 1, 2, 1]) == 2
    assert plateau_drops(recipe, [1, 2, 2, 1, 3, 1]) == 1
    assert [learning_rate_at(recipe, 50, 100, falls) for falls in (0, 1, 2)] == pytest.approx([1, 0.3, 0.09])


def test_swa_is_the_even_mean_of_the_last_steps():
    recipe, mean = TrainingConfig(swa=0.4), 0.0
    for step, weight in enumerate([7.0, 7, 7, 7, 7, 7, 1, 2, 3, 6]):
        keep = recipe.average_decay(step, 10)
        mean = keep * mean + (1 - keep) * weight
    assert mean == pytest.approx((1 + 2 + 3 + 6) / 4)


def test_mixup_of_a_row_with_itself_is_the_plain_loss(network, make, monkeypatch):
    made, rows = network("mlp", dropout=0.0), make(("number",), "category", 16)
    other = torch.randperm(16)
    assert torch.equal(mixup_inputs(rows, 1.0, other)["number"], rows["number"])
    assert torch.equal(mixup_inputs(rows, 0.0, other)["number"], rows["number"][other])
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self: torch.tensor(1.0))
    assert LossModule(made, 0.4)(rows).item() == LossModule(made)(rows).item()


def test_mixup_refuses_what_cannot_be_mixed(network, make):
    with pytest.raises(ModelError, match="category"):
        LossModule(network(kinds=("number", "category")), 0.2)(make(("number", "category"), "category", 4))


@pytest.mark.parametrize("wrong", [{"layer_decay": 1.5}, {"swa": -0.1}, {"plateau_patience": 0}, {"mixup": -1}])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ModelError, match=next(iter(wrong))):
        TrainingConfig(**wrong)


def test_a_prior_fades_as_rows_come(network):
    decays = {}
    for rows in (10, 1000):
        made = network()
        groups = (
            TrainingState(made, TrainingConfig(weight_decay=0.1, prior=2.0), rows).optimizers["all"][0].param_groups
        )
        decays[rows] = sorted({group["weight_decay"] for group in groups})
    assert decays == {10: pytest.approx([0.0, 0.3]), 1000: pytest.approx([0.0, 0.102])}
