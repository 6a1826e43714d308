"""The graphs that networkx ships.

`networkx:karate_club` or davis_southern_women: each node is a row, with the graph around it and what is known of it as
`label`. `networkx:atlas?label=planar`: each of the 1252 graphs of up to seven nodes (Read and Wilson 1998) is a row,
with a property of it as `label`; a node's features say its degree.
"""

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import sources
from evergreen.data.graph_type import Graph, pack
from evergreen.data.sources._neighborhoods import NodeGraph, parse_hops, parse_options

ATLAS = 7  # nodes of its largest graphs


class NetworkxSource(sources.Source):
    REQUIRES: ClassVar[dict[str, str]] = {"networkx": "demo"}

    def __init__(self, name: str, root: Path) -> None:
        bare, self.options = parse_options(name, ["label"])
        super().__init__(bare, root)

    def read(self) -> Iterator[pa.RecordBatch]:
        tables = iter([self._atlas()]) if self.name == "atlas" else self._nodes()
        rows = 0
        for table in tables:
            yield from sources.with_origin(table, f"networkx:{self.name}", rows).combine_chunks().to_batches()
            rows += len(table)

    def fingerprint(self) -> str:
        return f"networkx {version('networkx')} {self.name} {sorted(self.options.items())}"

    def _nodes(self) -> Iterator[pa.Table]:
        import networkx
        from networkx.generators import social

        known = [name.removesuffix("_graph") for name in social.__all__]
        if self.name not in known:
            fix = suggest(self.name, [*known, "atlas"])
            raise DataError(f"networkx ships no graph '{self.name}'", place=f"networkx:{self.name}", fix=fix)
        graph = getattr(networkx, f"{self.name}_graph")()
        names = list(graph)
        place = {name: number for number, name in enumerate(names)}
        label = next(iter(graph.nodes[names[0]]), None)
        if label is None:
            fix = "choose karate_club or davis_southern_women"
            raise DataError("its nodes have no features or labels", place=f"networkx:{self.name}", fix=fix)
        pairs = np.array([[place[a], place[b]] for a, b in graph.edges])
        weights = [weight for _, _, weight in graph.edges.data("weight")]
        whole = NodeGraph(len(names), pairs, None if None in weights else np.array(weights))
        labels = [str(graph.nodes[name][label]) for name in names]
        columns = pa.table({"id": [str(name) for name in names], "label": labels})
        yield from whole.tables(None, columns, **parse_hops(self.options))

    def _atlas(self) -> pa.Table:
        from networkx.generators.atlas import graph_atlas_g

        graphs = graph_atlas_g()[1:]  # the first has no nodes
        properties = _properties()
        label = self.options.get("label", "planar")
        if label not in properties:
            fix = suggest(label, properties)
            raise DataError(f"there is no property '{label}'", place="networkx:atlas", fix=fix)
        labels = [properties[label](graph) for graph in graphs]
        return pa.table({"graph": pack([_by_degree(graph) for graph in graphs]), "label": labels})


def _properties() -> dict[str, Callable[[Any], bool | int]]:
    import networkx

    return {
        "planar": networkx.is_planar,
        "connected": networkx.is_connected,
        "bipartite": networkx.is_bipartite,
        "chordal": networkx.is_chordal,
        "forest": networkx.is_forest,
        "triangles": lambda graph: sum(networkx.triangles(graph).values()) // 3,
    }


def _by_degree(graph: Any) -> Graph:
    """Return a small graph whose nodes' features are their degrees."""
    degrees = [degree for _, degree in graph.degree]
    return Graph(np.eye(ATLAS)[degrees], np.array(graph.edges, np.int64).reshape(-1, 2))
