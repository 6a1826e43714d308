"""Run graph networks on a batch of padded graphs, flattened into one graph of separate components.

A row is complete in itself: a neighbourhood with its nodes' true degrees holds all that reaches the centre in two
layers, so the centre's vector is the one that it would have in the full graph.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from evergreen.models.base import ROW_KINDS, Architecture, Batch, FieldLike, Inputs
from evergreen.models.layers import FlattenInputs, split_graph

Layer = Callable[..., Tensor]  # of torch_geometric, which calls alike whatever it passes on


class GraphBatch(NamedTuple):
    """Hold the n nodes of all graphs of a batch one after another, and their e edges, in both directions."""

    x_nF: Tensor
    row_n: Tensor  # the graph of each node
    first_n: Tensor  # True at node 0 of each graph
    degree_n: Tensor  # in the graph that it was cut from
    edges_2e: Tensor  # from, to
    weight_e: Tensor

    def with_edges(self, kept_e: Tensor) -> Self:
        """Return the same nodes with some of the edges."""
        return self._replace(edges_2e=self.edges_2e[:, kept_e], weight_e=self.weight_e[kept_e])


def to_graph_batch(x_BMX: Tensor, features: int) -> GraphBatch:
    """Flatten a batch of encoded graphs (kind `graph`)."""
    x_BMF, real_BM, degree_BM, adjacency_BMM = split_graph(x_BMX, features)
    place_BM = real_BM.flatten().cumsum(0).view_as(real_BM) - 1
    row_e, to_e, from_e = adjacency_BMM.nonzero(as_tuple=True)
    row_n, number_n = real_BM.nonzero(as_tuple=True)
    edges_2e = torch.stack([place_BM[row_e, from_e], place_BM[row_e, to_e]])
    weight_e = adjacency_BMM[row_e, to_e, from_e]
    return GraphBatch(x_BMF[real_BM], row_n, number_n == 0, degree_BM[real_BM], edges_2e, weight_e)


class GraphNetwork(Architecture):
    """Pass messages between neighbours, as `layer` and `propagate` define; other inputs are concatenated.

    Where rows are about a node, the features are that node's vector, and edges that cannot reach it are skipped. Where
    rows are about a graph, they are the mean, maximum and sum of its nodes' vectors.
    """

    ACCEPTS = ROW_KINDS | {"graph"}
    FIRST_FOR = frozenset({"graph"})
    NEEDS_ONE_OF = frozenset({"graph"})
    EXTRA = "torch_geometric"
    SEARCH_SPACE = {
        "learning_rate": (1e-3, 2e-2, "log"),
        "weight_decay": (1e-4, 1e-1, "log"),
        "dropout": (0.0, 0.7),
        "depth": [1, 2, 3],
        "size": [0.5, 1.0, 2.0],
    }
    DEFAULTS = {"learning_rate": 5e-3, "weight_decay": 5e-3, "keep": "last"}

    def __init__(self, inputs: Inputs, *, size: float = 1.0, depth: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        width = 4 * max(1, round(16 * size))
        fields = {name: field for name, field in inputs.items() if field.kind == "graph"}
        other_fields = {name: field for name, field in inputs.items() if field.kind != "graph"}
        self.fields, self.width, self.depth = fields, width, depth
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleDict({name: self._layers(field) for name, field in fields.items()})
        self.beside = FlattenInputs(other_fields) if other_fields else None
        read = sum(width if field.state["centre"] else 3 * width for field in fields.values())
        self.out_features = read + (self.beside.width if self.beside else 0)

    def layer(self, inside: int, outside: int) -> nn.Module:
        """Build one layer of messages: (n, inside) → (n, outside)."""
        raise NotImplementedError

    def propagate(self, layer: Layer, x_nF: Tensor, parts: GraphBatch) -> Tensor:
        """Return the nodes' vectors after one layer."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        read = [self._read(name, batch[name]) for name in self.fields]
        return torch.cat([*read, *([self.beside(batch)] if self.beside else [])], 1)

    def _layers(self, field: FieldLike) -> nn.ModuleList:
        widths = [int(field.state["features"]), *[self.width] * self.depth]
        return nn.ModuleList(self.layer(a, b) for a, b in pairwise(widths))

    def _read(self, name: str, x_BMX: Tensor) -> Tensor:
        state = self.fields[name].state
        graph_batch = to_graph_batch(x_BMX, int(state["features"]))
        heard = _edges_reaching_center(graph_batch, self.depth) if state["centre"] else [graph_batch] * self.depth
        x_nD = graph_batch.x_nF
        for layer, edges in zip(self.layers[name], heard, strict=True):  # type: ignore[call-overload]
            x_nD = self.propagate(layer, self.dropout(x_nD), edges).relu()
        if state["centre"]:
            return x_nD[graph_batch.first_n]
        return _pooled(x_nD, graph_batch.row_n, len(x_BMX), int(state["nodes"]))


def _edges_reaching_center(batch: GraphBatch, depth: int) -> list[GraphBatch]:
    """Return, for each layer, the edges whose messages can still reach a centre."""
    wanted_n, heard = batch.first_n, []
    for _ in range(depth):
        kept_e = wanted_n[batch.edges_2e[1]]
        heard.append(batch.with_edges(kept_e))
        wanted_n = wanted_n.clone()
        wanted_n[heard[-1].edges_2e[0]] = True
    return heard[::-1]


def _pooled(x_nD: Tensor, row_n: Tensor, rows: int, max_nodes: int) -> Tensor:
    """Return (B, 3 D): mean, maximum and sum (as a fraction of the largest graph) of each graph's nodes."""
    index_nD = row_n[:, None].expand_as(x_nD)
    zeros = x_nD.new_zeros(rows, x_nD.shape[1])
    count_B1 = torch.bincount(row_n, minlength=rows)[:, None].clamp_min(1)
    total = zeros.scatter_add(0, index_nD, x_nD)
    greatest = zeros.scatter_reduce(0, index_nD, x_nD, "amax", include_self=False)
    return torch.cat([total / count_B1, greatest, total / max_nodes], 1)
