"""Networks that know what rows look like: gradients, bounds, groups and thresholds, against what they should be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from evergreen.core.errors import ModelError
from evergreen.models.architectures.rbm import Boltzmann
from evergreen.models.registry import find_task
from evergreen.models.sampling import seeded_normal
from evergreen.models.tasks.generation import embed, frechet_distance, memorization_ratio
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer
from evergreen.stages.checking.sample_inputs import TARGETS


def test_contrastive_divergence_is_the_difference_of_statistics():
    torch.manual_seed(0)
    machine, v, other = Boltzmann(3, 2), torch.rand(5, 3), torch.bernoulli(torch.full((4, 3), 0.5))
    machine.contrastive_divergence(v, other).backward()
    on, dreamt = machine(v), machine(other)
    torch.testing.assert_close(machine.weight.grad, other.T @ dreamt / 4 - v.T @ on / 5)
    torch.testing.assert_close(machine.visible.grad, other.mean(0) - v.mean(0))
    torch.testing.assert_close(machine.hidden.grad, dreamt.mean(0) - on.mean(0))


def test_free_energy_sums_the_hidden_states_out():
    torch.manual_seed(0)
    machine, v = Boltzmann(3, 2), torch.rand(4, 3)
    states = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    energy = -(v @ machine.visible)[:, None] - states @ machine.hidden - (v @ machine.weight) @ states.T
    torch.testing.assert_close(machine.free_energy(v), -(-energy).logsumexp(1))


def test_chains_dream_what_was_learned(network):
    """Rows whose units are all alike are learned; what the chains dream is alike, too."""
    torch.manual_seed(0)
    x = (torch.rand(200, 1) < 0.5).float().expand(200, 5) * 2 - 1
    rows = {"number": x, "target": torch.zeros(200, dtype=torch.long)}
    loop = Trainer(network("rbm", size=0.1), TensorFeed(rows, 20), rows, TrainingConfig(epochs=20, learning_rate=0.02))
    loop.run()
    dreams = loop.network.architecture.chains_NW
    assert (dreams == dreams[:, :1]).float().mean() > 0.8  # 0.6 by chance


@pytest.mark.parametrize("group", ["discriminator", "generator"])
def test_a_step_of_one_side_leaves_the_other_untouched(group, network, make, monkeypatch):
    made = network("gan", "generation", ("category", "seed"), "image", size=0.25)
    sides = made.architecture.groups(made.task)
    monkeypatch.setattr(made.architecture, "groups", lambda task: {group: sides[group]})
    rows = make(("category", "seed"), "image", 8)
    loop = Trainer(made, TensorFeed(rows, 8), rows, TrainingConfig(epochs=1, warmup_share=0))
    before = {side: [p.detach().clone() for p in sides[side]] for side in sides}
    loop.run()
    for side, parameters in sides.items():
        same = [torch.equal(a, b) for a, b in zip(before[side], parameters, strict=True)]
        assert not all(same) if side == group else all(same)


def test_every_parameter_of_the_two_sides_is_in_one_group(network):
    made = network("gan", "generation", ("category", "seed"), "image", size=0.25)
    ids = [id(p) for parameters in made.groups().values() for p in parameters]
    assert sorted(ids) == sorted(id(p) for p in made.parameters())


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.slow
def test_the_bound_is_its_closed_form_where_the_decoder_ignores_the_code(likelihood, network):
    made = network("vae", "generation", ("seed",), "image", size=0.125, likelihood=likelihood).architecture.eval()
    with torch.no_grad():
        for part in (made.encoder, made.decoder):
            last = part[-1]
            assert isinstance(last, nn.Linear)
            last.weight.zero_()
        made.encoder[-1].bias.copy_(torch.tensor([0.5, -1.0, math.log(2), math.log(1.5)]))
        made.decoder[-1].bias.fill_(0.25)
    x = torch.tensor([[-2.0] * 32 + [2.0] * 32])  # shares 0 and 1 of the span
    divergence = (0.25 + 4 - 1 - math.log(4)) / 2 + (1 + 2.25 - 1 - math.log(2.25)) / 2
    p = 1 / (1 + math.exp(-0.25))
    bernoulli = -32 * (math.log(p) + math.log(1 - p))
    gaussian = 32 * (2.25**2 + 1.75**2) / 2 + 32 * math.log(2 * math.pi)
    expected = divergence + {"bernoulli": bernoulli, "gaussian": gaussian}[likelihood]
    bound = made.minus_elbo(x, x[:, :0])
    assert float(bound.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(made.importance_bound(x, x[:, :0], 4000)) == pytest.approx(expected - divergence, abs=0.1)


def test_the_same_seed_draws_the_same_sample_in_every_batch(network):
    made = network("vae", "generation", ("seed",), "image", size=0.25)
    seeds = torch.tensor([5, 2**31 - 1, 0, 5])
    drawn = made.compute_outputs({"seed": seeds})
    assert torch.equal(drawn[0], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(made.compute_outputs({"seed": seeds[1:2]})[0], drawn[1])


def test_numbers_by_seed_are_normal():
    x = seeded_normal(torch.arange(2000), 50)
    assert x.mean().abs() < 0.01
    assert abs(float(x.std()) - 1) < 0.01
    assert x.T.cov().sub(torch.eye(50)).abs().max() < 0.12  # columns do not hang together


def anomaly(**options):
    return find_task("anomaly")(TARGETS["category"], 1, **options)


def test_the_threshold_holds_its_rate_of_false_alarms():
    torch.manual_seed(0)
    made, rates = anomaly(false_alarms=0.05), []
    for _ in range(200):
        seen, new = torch.randn(60).exp(), torch.randn(1000).exp()
        target = torch.zeros(80, dtype=torch.long)
        target[60:] = 1  # anomalies: the threshold does not look at them
        made.threshold.copy_(made.calibrate(torch.cat([seen, torch.full((20,), 99.0)]), target)["threshold"])
        rates.append(made.metrics(new, torch.zeros(1000, dtype=torch.long))["false_alarms"])
    assert 0.03 < sum(rates) / len(rates) <= 0.052


def test_auroc_is_scikit_learn_s_and_its_rows_mean_it():
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(0)
    output, target = torch.randn(80).round(decimals=1), torch.randint(3, (80,))
    made = anomaly(normal="green")
    found = made.metrics(output, target)
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(target != 1, output))
    rows = made.row_scores(output, target)
    assert float(rows[target == 1].mean()) == pytest.approx(found["auroc"])


def test_anomalies_are_not_learned_from(network, make):
    made = network("autoencoder", "anomaly", ("number",), size=0.25, noise=0.0)
    batch = make(("number",), "category", 8)
    normal_ones = {name: x[batch["target"] == 0] for name, x in batch.items()}
    both, alone = (float(made.architecture.loss(rows, "all", made.task)) for rows in (batch, normal_ones))
    assert both == pytest.approx(alone, rel=1e-5)
    assert made.task.trainable_rows(batch["target"]).tolist() == (batch["target"] == 0).tolist()


def test_a_class_that_is_not_there_cannot_be_normal():
    with pytest.raises(ModelError, match="did you mean 'green'"):
        anomaly(normal="gren")


def test_distances_of_clouds():
    torch.manual_seed(0)
    a = torch.randn(4000, 3, dtype=torch.float64)
    b = 2 * torch.randn(4000, 3, dtype=torch.float64) + torch.tensor([1.0, 0, 0])
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(1 + 3 * (2 - 1) ** 2, rel=0.05)  # |Δmean|² + Σ(σ − σ')²
    x = torch.randn(6, 1, 8, 8)
    torch.testing.assert_close(embed(x)[:2], embed(x[:2]))


def test_copies_are_seen():
    torch.manual_seed(0)
    train, fresh, new = (torch.randn(50, 1, 4, 4) for _ in range(3))
    assert memorization_ratio(train + 0.01 * torch.randn_like(train), fresh, train) < 0.1
    assert memorization_ratio(new, fresh, train) == pytest.approx(1, abs=0.15)
