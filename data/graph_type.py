"""Convert graphs to and from an Arrow column.

Edges have no direction and positive weights. A pair that is named twice is one edge, the heavier of the two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.data.arrow import to_numpy

TYPE = pa.struct(
    {
        "nodes": pa.list_(pa.list_(pa.float32())),  # the features of each node
        "edges": pa.list_(pa.list_(pa.int32())),  # pairs of places in `nodes`
        "weights": pa.list_(pa.float32()),  # of the edges; null where all weigh 1
        "degree": pa.list_(pa.float32()),  # in the graph that this one was cut from; null where it is whole
    }
)
MAX_NODES = 128  # nodes of a graph that a network is shown, unless it is asked to take more
LARGEST = 1e6  # weights and degrees beyond it are mistakes


@dataclass(frozen=True)
class Graph:
    """Hold one graph. In a neighborhood node 0 is the center, and `degree` is that of the whole graph."""

    nodes: np.ndarray  # (n, F)
    edges: np.ndarray  # (E, 2)
    weights: np.ndarray | None = None  # (E,)
    degree: np.ndarray | None = None  # (n,)

    def validation_error(self, features: int) -> str:
        """Return what is wrong with the graph; "" if nothing is."""
        count = len(self.nodes)
        if not count:
            return "it has no nodes"
        if self.nodes.shape[1] != features:
            return f"its nodes have not {features} features each"
        if self.edges.shape[1] != 2:
            return "an edge is no pair of nodes"
        if self.edges.size and not (self.edges.min() >= 0 and self.edges.max() < count):
            return "it has an edge to a node that is not there"
        for name, values, length in (("weights", self.weights, len(self.edges)), ("degree", self.degree, count)):
            if values is not None and len(values) != length:
                return f"it has {len(values)} {name} where {length} belong"
            if values is not None and not ((values >= 0) & (values <= LARGEST)).all():
                return f"{name} below 0, or no numbers"
        return "" if np.isfinite(self.nodes).all() else "holds NaN or Infinity"

    def adjacency(self, out: np.ndarray, most: int) -> None:
        """Write both directions of each edge among the first `most` nodes, without loops, to `out` (≥ most, ≥ most)."""
        inside = (self.edges < most).all(axis=1) & (self.edges[:, 0] != self.edges[:, 1])
        a, b = self.edges[inside].astype(np.intp).T
        heavy = np.float32(1) if self.weights is None else self.weights[inside]
        np.maximum.at(out, (a, b), heavy)
        np.maximum.at(out, (b, a), heavy)

    def to_json(self) -> dict[str, Any]:
        """Return the graph as a request has it."""
        return {name: part.tolist() for name, part in vars(self).items() if part is not None}


def pack(graphs: Sequence[Graph]) -> pa.StructArray:
    """Return graphs as a column of TYPE."""
    nodes, edges, weights, degree = (field.type for field in TYPE)
    width = graphs[0].nodes.shape[1] if graphs else 0
    fields = [
        _matrices([graph.nodes for graph in graphs], width).cast(nodes),
        _matrices([graph.edges for graph in graphs], 2).cast(edges),
        pa.array([graph.weights for graph in graphs], weights),
        pa.array([graph.degree for graph in graphs], degree),
    ]
    return pa.StructArray.from_arrays(fields, fields=list(TYPE))


def unpack(column: pa.StructArray) -> Iterator[Graph]:
    """Yield the graphs of a column of TYPE without nulls; a ragged matrix becomes one without columns."""
    nodes, edges, weights, degree = (_Lists(part) for part in column.flatten())
    for row in range(len(column)):
        yield Graph(nodes.matrix(row), edges.matrix(row, 2), weights.vector(row), degree.vector(row))


class _Lists:
    """Read a column of lists of numbers, or of lists of such lists, from its flat arrays."""

    def __init__(self, column: pa.ListArray) -> None:
        self.valid = to_numpy(column.is_valid())
        self.starts = column.offsets.to_numpy()
        self.inner = np.zeros(0, np.int32)
        values = column.values
        if pa.types.is_list(values.type):
            self.inner, values = values.offsets.to_numpy(), values.values
        self.values = to_numpy(values)

    def vector(self, row: int) -> np.ndarray | None:
        return self.values[self.starts[row] : self.starts[row + 1]] if self.valid[row] else None

    def matrix(self, row: int, width: int = 0) -> np.ndarray:
        """Return (n, width) of a row; `width` matters where n is 0."""
        bounds = self.inner[self.starts[row] : self.starts[row + 1] + 1]
        widths = np.diff(bounds)
        if not len(widths):
            return np.zeros((0, width))
        if (widths != widths[0]).any():
            return np.zeros((len(widths), 0))
        return np.reshape(self.values[bounds[0] : bounds[-1]], (len(widths), widths[0]))


def _matrices(parts: Sequence[np.ndarray], width: int) -> pa.ListArray:
    all_rows = np.concatenate([part.reshape(-1, width) for part in parts] or [np.zeros((0, width))])
    rows = pa.ListArray.from_arrays(
        pa.array(np.arange(len(all_rows) + 1) * width, pa.int32()), pa.array(all_rows.ravel())
    )
    ends = np.cumsum([0, *(len(part) for part in parts)])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), rows)
