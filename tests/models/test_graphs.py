"""Graph networks: what is said of a neighbourhood is what would be said of the whole graph."""

from __future__ import annotations

import importlib.util

import networkx
import numpy as np
import pytest
import torch

from evergreen.data import kinds
from evergreen.data.graph_type import Graph, pack
from evergreen.data.sources._neighborhoods import NodeGraph
from evergreen.models.registry import build

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("torch_geometric"), reason="an extra")  # seconds to import
GRAPH = networkx.karate_club_graph()
PAIRS = np.array(GRAPH.edges)
WEIGHTS = np.array([weight for _, _, weight in GRAPH.edges.data("weight")], np.float32)
FEATURES = np.random.default_rng(0).normal(size=(34, 5)).astype(np.float32)


def network(name, field):
    from evergreen.stages.checking.sample_inputs import TARGETS

    torch.manual_seed(0)
    return build(name, "classification", {"graph": field}, TARGETS["category"]).architecture.eval()


def encoded(graphs):
    kind = kinds.find("graph")
    column, faults = kind.validate(pack(graphs))
    assert not faults
    field = kind.fit({"graph": column})
    return field, torch.from_numpy(kind.encode(field, [column]))


def whole_graph(name, made, x_nF):
    """The layers of `made` as torch-geometric applies them to the whole graph, with its own normalisation."""
    from torch_geometric.nn import GCNConv

    edges = torch.from_numpy(np.concatenate([PAIRS, PAIRS[:, ::-1]]).T.copy())
    heavy = torch.from_numpy(np.tile(WEIGHTS, 2))
    for layer in made.layers["graph"]:
        if name == "gcn":
            other = GCNConv(layer.in_channels, layer.out_channels)
            other.load_state_dict(layer.state_dict())
            x_nF = other(x_nF, edges, heavy).relu()
        else:
            x_nF = layer(x_nF, edges).relu()
    return x_nF


@pytest.mark.parametrize("name", ["gcn", "gat", "sage"])
def test_a_neighbourhood_says_what_the_whole_graph_says(name):
    whole = NodeGraph(34, PAIRS, WEIGHTS)
    field, x_BMX = encoded([whole.neighbourhood(node, FEATURES) for node in range(34)])
    made = network(name, field)
    with torch.no_grad():
        x_nF = torch.from_numpy((FEATURES - field.state["mean"]) / field.state["std"]).float()
        assert torch.allclose(made({"graph": x_BMX}), whole_graph(name, made, x_nF), atol=1e-5)


@pytest.mark.parametrize("name", ["gcn", "gat", "sage"])
@pytest.mark.parametrize("centre", [True, False])
def test_the_order_of_nodes_says_nothing(name, centre):
    order = np.concatenate([[0], 1 + np.random.default_rng(1).permutation(33)])  # the centre stays in front
    moved = Graph(FEATURES[order], np.argsort(order)[PAIRS], WEIGHTS)
    kind = kinds.find("graph")
    column = pack([Graph(FEATURES, PAIRS, WEIGHTS), moved])
    field = kind.fit({"graph": column}, centre=centre)
    with torch.no_grad():
        one, other = network(name, field)({"graph": torch.from_numpy(kind.encode(field, [column]))})
    assert torch.allclose(one, other, atol=1e-4)
    assert one.abs().sum() > 0


def test_messages_that_reach_no_centre_are_passed_over():
    from evergreen.models.graph_batch import _edges_reaching_center, to_graph_batch

    path = Graph(np.ones((4, 1), np.float32), np.array([[0, 1], [1, 2], [2, 3]]), None, np.array([1.0, 2, 2, 1]))
    field, x_BMX = encoded([path])
    first, last = _edges_reaching_center(to_graph_batch(x_BMX, field.state["features"]), 2)
    assert sorted(map(tuple, last.edges_2e.T.tolist())) == [(1, 0)]
    assert sorted(map(tuple, first.edges_2e.T.tolist())) == [(0, 1), (1, 0), (2, 1)]
