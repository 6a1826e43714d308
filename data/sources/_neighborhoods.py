"""Cut a whole graph into rows: each node with the neighborhood that decides a network's answer."""

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import parse_qsl

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data.graph_type import MAX_NODES, Graph, pack

HOPS = 2  # how far a neighbourhood reaches
ONE_HOT = 256  # nodes of a graph without features up to which each node is its own feature
COORDINATES = 16  # of the spectral embedding that larger ones are given instead
CHUNK = 1000  # rows a batch: neighbourhoods are large


class NodeGraph:
    """Hold a whole graph of `count` nodes, each of which becomes a row."""

    def __init__(self, count: int, edges: np.ndarray, weights: np.ndarray | None = None) -> None:
        pairs, weights = _undirected(edges, weights)
        ends = np.concatenate([pairs, pairs[:, ::-1]])
        order = np.argsort(ends[:, 0], kind="stable")
        self.count, self.pairs, self.weights = count, pairs, weights
        self.starts = np.searchsorted(ends[order, 0], np.arange(count + 1))
        self.others = ends[order, 1]
        self.heavy = np.ones(len(order), np.float32) if weights is None else np.tile(weights, 2)[order]
        self.degree = np.bincount(ends[order, 0], self.heavy, minlength=count).astype(np.float32)
        self.place = np.full(count, -1)  # of a node in the neighbourhood that is being made

    def features(self) -> np.ndarray:
        """Return (N, F) features of nodes that bring none.

        In a small graph each node is its own feature; else the logarithm of the degree and the place in the
        graph, by spectral embedding (Belkin and Niyogi 2003).
        """
        if self.count <= ONE_HOT:
            return np.eye(self.count, dtype=np.float32)
        return np.column_stack([np.log1p(self.degree), self._coordinates()]).astype(np.float32)

    def _coordinates(self) -> np.ndarray:
        """Return (N, COORDINATES) eigenvectors of the random walk on the graph, the slowest first."""
        from scipy.sparse import csr_array
        from scipy.sparse.linalg import eigsh

        scale = 1 / np.sqrt(np.maximum(self.degree, 1e-6))
        links = self.heavy * scale[self.others] * np.repeat(scale, np.diff(self.starts))
        walk = csr_array((links, self.others, self.starts), shape=(self.count, self.count))
        begin = np.random.default_rng(0).normal(size=self.count)
        values, vectors = eigsh(walk, COORDINATES + 1, which="LA", v0=begin, tol=1e-5)
        order = np.argsort(-values)[1:]  # the first says nothing: it is the degree
        return np.asarray(vectors[:, order] * scale[:, None])

    def neighbourhood(self, centre: int, features: np.ndarray, hops: int = HOPS, most: int = MAX_NODES) -> Graph:
        """Return all nodes within `hops` of a center and the edges among them, cut to `most` nodes.

        The nearest come first; of equally near ones those with the heaviest edges to nearer nodes.
        """
        chosen = [np.array([centre])]
        self.place[centre] = 0
        n_nodes = 1
        for _ in range(hops):
            reached, weights = self._beyond(chosen[-1])
            chosen.append(reached[np.lexsort((reached, -weights))][: most - n_nodes])
            self.place[chosen[-1]] = np.arange(n_nodes, n_nodes + len(chosen[-1]))
            n_nodes += len(chosen[-1])
        nodes = np.concatenate(chosen)
        spans = [slice(self.starts[node], self.starts[node + 1]) for node in nodes]
        near = np.repeat(np.arange(len(nodes)), [span.stop - span.start for span in spans])
        far = self.place[np.concatenate([self.others[span] for span in spans])]
        inside = far > near  # once each, and not those that lead out
        heavy = None if self.weights is None else np.concatenate([self.heavy[span] for span in spans])[inside]
        self.place[nodes] = -1
        return Graph(features[nodes], np.stack([near, far], 1)[inside], heavy, self.degree[nodes])

    def _beyond(self, rim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nodes next to the rim that are new to the neighborhood, and the weight of their edges to it."""
        spans = [slice(self.starts[node], self.starts[node + 1]) for node in rim]
        others = np.concatenate([self.others[span] for span in spans] or [np.zeros(0, int)])
        heavy = np.concatenate([self.heavy[span] for span in spans] or [np.zeros(0)])
        fresh = self.place[others] < 0
        nodes, which = np.unique(others[fresh], return_inverse=True)
        return nodes, np.bincount(which, heavy[fresh], minlength=len(nodes))

    def tables(self, features: np.ndarray | None, columns: pa.Table, **reach: int) -> Iterator[pa.Table]:
        """Yield `beside`, a row per node, with the column `graph` of neighborhoods, in bounded pieces."""
        features = self.features() if features is None else features
        for first in range(0, self.count, CHUNK):
            piece = columns.slice(first, CHUNK)
            graphs = [self.neighbourhood(first + row, features, **reach) for row in range(len(piece))]
            yield piece.add_column(min(1, piece.num_columns), "graph", pack(graphs))


def _undirected(edges: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return each pair once, the lower node first, without loops."""
    pairs = np.sort(np.asarray(edges, np.int64).reshape(-1, 2), axis=1)
    own = pairs[:, 0] != pairs[:, 1]
    pairs, which = np.unique(pairs[own], axis=0, return_inverse=True)
    if weights is None:
        return pairs, None
    heaviest = np.zeros(len(pairs), np.float32)
    np.maximum.at(heaviest, which.reshape(-1), np.asarray(weights, np.float32)[own])
    return pairs, heaviest


def parse_options(name: str, more: Sequence[str] = ()) -> tuple[str, dict[str, str]]:
    """Split a URI at `?`: "karate_club?most=64" is ("karate_club", {"most": "64"}).

    `hops` and `most` say how far a neighborhood reaches and how many nodes it keeps; `features=place` describes
    nodes by their place in the graph alone.
    """
    bare, _, query = name.partition("?")
    options, known = dict(parse_qsl(query, keep_blank_values=True)), ["hops", "most", "features", *more]
    for key, word in options.items():
        if key not in known:
            raise DataError(f"'{key}' is not an option of graphs", place=name, fix=suggest(key, known))
        if key in ("hops", "most") and not (word.isdecimal() and int(word)):
            fix = "use a whole number of 1 or more"
            raise DataError(f"'{word}' is not a valid value of {key}", place=name, fix=fix)
        if key == "features" and word not in ("own", "place"):
            raise DataError(f"'{word}' is not a valid value of features", place=name, fix="use own or place")
    return bare, options


def parse_hops(options: Mapping[str, str]) -> dict[str, int]:
    """Return the options `hops` and `most` as numbers."""
    return {key: int(word) for key, word in options.items() if key in ("hops", "most")}
