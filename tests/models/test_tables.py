"""Networks for tables: members that answer together, and numbers that become vectors."""

import pytest
import torch

from evergreen.core.errors import ModelError
from evergreen.models.architectures._numeric_embeddings import Periodic, PiecewiseLinear
from evergreen.models.registry import build
from evergreen.stages.checking.sample_inputs import INPUTS, TARGETS, Field, rows

KINDS = ("number", "category")


def make(name="tabm", task="classification", target="category", **options):
    torch.manual_seed(0)
    return build(name, task, {kind: INPUTS[kind] for kind in KINDS}, TARGETS[target], **options).eval()


@pytest.mark.parametrize(("target", "said"), [("category", lambda z: z.softmax(-1)), ("labels", torch.sigmoid)])
@pytest.mark.parametrize(("shift", "temperature"), [(0.0, 1.0), (0.7, 2.0)])
def test_members_answer_by_the_mean_of_their_probabilities(target, said, shift, temperature):
    network, batch = make(target=target), rows(KINDS, target, 6)
    network.task.shift[0] = shift
    network.task.temperature.fill_(temperature)
    x_BMF = network.architecture.members(batch)
    assert x_BMF.shape == (6, 32, network.architecture.out_features)
    assert x_BMF.std(1).min() < x_BMF.std(1).max(), "members differ"
    mean = said(network.task.head(x_BMF)).mean(1)  # as each has learned it, before probabilities are bent
    known = said(network.task.unbend(network(batch)))
    torch.testing.assert_close(known, mean)


def test_members_are_averaged_where_answers_are_numbers():
    network, batch = make(task="regression", target="number"), rows(KINDS, "number", 6)
    each = network.task(network.architecture.members(batch).flatten(0, 1)).view(6, 32)
    torch.testing.assert_close(network(batch), each.mean(1))


@pytest.mark.parametrize(("task", "target"), [("classification", "category"), ("regression", "number")])
def test_each_member_learns_by_its_own_loss(task, target):
    network, batch = make(task=task, target=target, members=3), rows(KINDS, target, 6)
    each = [network.task.loss(network.task(x), batch["target"]) for x in network.architecture.members(batch).unbind(1)]
    torch.testing.assert_close(network.architecture.loss(batch, "all", network.task), torch.stack(each).mean())


@pytest.mark.parametrize("name", ["tabm", "embedded_mlp", "realmlp"])
def test_many_numbers_have_short_vectors(name):
    wide = {"number": Field("number", (2000,))}
    inputs = build(name, "classification", wide, TARGETS["category"]).architecture.inputs
    assert inputs.width == 2 * 2000


@pytest.mark.parametrize("name", ["tabm", "embedded_mlp", "realmlp"])
def test_rows_are_answered_alike_alone_and_together(name):
    network, batch = make(name), rows(KINDS, "category", 6)
    alone = torch.cat([network({key: column[[row]] for key, column in batch.items()}) for row in range(6)])
    torch.testing.assert_close(network(batch), alone)


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(ModelError, match="members is 0"):
        make(members=0)


def test_bins_end_at_quantiles_and_say_how_far_a_number_has_come():
    embedding, x = PiecewiseLinear(2, 1, bins=4), torch.stack([torch.arange(101.0), torch.full((101,), 7.0)], 1)
    embedding.fit(x)
    assert embedding.edges.tolist() == [[0, 25, 50, 75, 100], [7.0] * 5]
    with torch.no_grad():
        embedding.line.zero_()
        embedding.base.zero_()
        embedding.steps[0, :, 0] = torch.tensor([1.0, 10.0, 100.0, 1000.0])
        embedding.steps[1] = 1.0
    said = embedding(torch.tensor([[-5.0, 7.0], [12.5, 0.0], [60.0, 9.0], [1e9, 7.0]]))[..., 0]
    torch.testing.assert_close(said, torch.tensor([[0.0, 0.0], [0.5, 0.0], [51.0, 0.0], [1111.0, 0.0]]))


def test_bins_are_set_from_the_training_rows_alone():
    network = make()
    batches = [rows(KINDS, "category", 50, seed) for seed in range(2)]
    network.architecture.init_from_data(batches)
    values = torch.cat([batch["number"] for batch in batches])
    edges = network.architecture.inputs.embedding.edges
    torch.testing.assert_close(edges[:, 0], values.amin(0))
    torch.testing.assert_close(edges[:, -1], values.amax(0))
    torch.testing.assert_close(edges[:, 8], values.double().quantile(0.5, dim=0).float())


def test_waves_keep_the_number_itself_and_differ_by_column():
    torch.manual_seed(0)
    x = torch.tensor([[0.5, 0.5], [-1.0, 2.0]])
    said = Periodic(2, 4)(x)
    assert said.shape == (2, 2, 4)
    assert torch.equal(said[..., 0], x)
    assert not torch.allclose(said[0, 0, 1:], said[0, 1, 1:])
