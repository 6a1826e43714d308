"""Graphs: a column of structures {nodes, edges, weights, degree} becomes tensors (M, F + 2 + M).

Each of the M places holds a node's features, 1 where there is a node, its degree, and its row of the adjacency. A
neighbourhood has node 0 for its centre and brings the degrees of the graph that it was cut from; whole graphs do not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core import marks
from evergreen.core.errors import DataError
from evergreen.core.marks import Mark
from evergreen.data import graph_type
from evergreen.data.arrow import RowErrors, decode_array, to_numpy
from evergreen.data.field import TensorField
from evergreen.data.graph_type import MAX_NODES, TYPE, pack, unpack
from evergreen.data.kinds import Kind
from evergreen.data.kinds._json import format_value, parse_numeric_array

VALUES = 1e8  # of all training graphs together, encoded: 400 MB
SHAPE = "give {nodes: a list of lists of numbers, edges: a list of pairs of places in nodes}"


class Graph(Kind):
    OPTIONS = {
        "nodes": 0,  # M; of larger graphs the first M count. 0: the largest training graph's, up to _max_nodes
        "centre": None,  # whether node 0 is what a row is about; by default where the column brings degrees
    }

    def detect(self, column: pa.Array) -> float:
        kind = decode_array(column).type
        names = {field.name for field in kind} if pa.types.is_struct(kind) else set()
        return 1.0 if {"nodes", "edges"} <= names else 0.0

    def needs_all_rows(self, stored: pa.DataType) -> bool:
        return True

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        if not self.detect(column):
            return pa.nulls(len(column), TYPE), dict.fromkeys(range(len(column)), "no graph {nodes, edges}")
        try:
            typed = _typed(column)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = f"no graph: {str(error).splitlines()[0]}"
            return pa.nulls(len(column), TYPE), dict.fromkeys(range(len(column)), reason)
        rows = np.flatnonzero(to_numpy(typed.is_valid()))
        graphs = list(unpack(typed.drop_null()))
        widths = [graph.nodes.shape[1] for graph in graphs]
        commonest = max(set(widths), key=widths.count, default=0)
        faults = {int(row): graph.validation_error(commonest) for row, graph in zip(rows, graphs, strict=True)}
        return typed, {row: fault for row, fault in faults.items() if fault}

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        if target:
            raise DataError("a graph cannot be a target", place=f"column '{name}'", fix="choose another target")
        graphs = list(unpack(column))
        nodes = np.concatenate([graph.nodes for graph in graphs]).astype(np.float64)
        flag = np.isin(nodes, (0, 1)).all(axis=0)  # yes or no: they stay as they are
        std = nodes.std(axis=0)
        most = int(options.get("nodes") or _max_nodes([len(graph.nodes) for graph in graphs], nodes.shape[1]))
        centre = options.get("centre")
        state = {
            "features": nodes.shape[1],
            "nodes": most,
            "centre": graphs[0].degree is not None if centre is None else bool(centre),
            "mean": np.where(flag, 0.0, nodes.mean(axis=0)).tolist(),
            "std": np.where(flag | (std == 0), 1.0, std).tolist(),
            "median": np.median(nodes, axis=0).tolist(),
        }
        return TensorField("graph", (name,), (most, nodes.shape[1] + 2 + most), "float32", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        most, features = field.state["nodes"], field.state["features"]
        encoded = np.zeros((len(columns[0]), *field.shape), np.float32)
        mean, std = (np.asarray(field.state[name], np.float32) for name in ("mean", "std"))
        for row, graph in zip(encoded, unpack(columns[0]), strict=True):
            if graph.nodes.shape[1] != features:
                raise DataError(
                    f"holds nodes of {graph.nodes.shape[1]} features where {features} are expected",
                    place=f"column '{field.columns[0]}'",
                    fix="give them as the training graphs have them",
                )
            count = min(most, len(graph.nodes))
            row[:count, :features] = (graph.nodes[:count] - mean) / std
            row[:count, features] = 1
            adjacency = row[:, features + 2 :]
            graph.adjacency(adjacency, most)
            degree = adjacency.sum(axis=1) if graph.degree is None else graph.degree
            row[:count, features + 1] = degree[:count]
        return encoded

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        return [_decoded(field, row).to_json() for row in values]

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        centre, names = field.state["centre"], [part.name for part in TYPE]
        fix = SHAPE + (", and degree: of each node, in the graph that it is cut from" if centre else "")
        if not isinstance(value, dict) or not all(isinstance(value.get(name), list) for name in ("nodes", "edges")):
            raise DataError("is not a graph", fix=fix)
        if strange := [name for name in value if name not in names]:
            raise DataError(f"has {format_value(strange[0])} for a field", fix=fix)
        if centre and value.get("degree") is None:
            raise DataError("has no degrees", fix=fix)
        nodes, edges = value["nodes"], value["edges"]
        lengths = {"weights": len(edges), "degree": len(nodes)}
        extra_fields = (
            None if value.get(name) is None else parse_numeric_array(value[name], (n,)) for name, n in lengths.items()
        )
        graph = graph_type.Graph(
            parse_numeric_array(nodes, (len(nodes), field.state["features"])) if nodes else np.zeros((0, 0)),
            parse_numeric_array(edges, (len(edges), 2)) if edges else np.zeros((0, 2)),
            *extra_fields,
        )
        fault = graph.validation_error(field.state["features"])
        if fault or (graph.edges != np.trunc(graph.edges)).any():
            raise DataError(fault or "has an edge whose end is not a whole number", fix=fix)
        return graph

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        return pack(values)

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        centre, median = field.state["centre"], field.state["median"]
        number, pair = {"type": "number"}, {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
        node = {"type": "array", "items": number, "minItems": len(median), "maxItems": len(median)}
        numbers_of = {"type": "array", "items": number}
        return {
            "type": "object",
            "properties": {
                "nodes": {"type": "array", "items": node, "minItems": 1},
                "edges": {"type": "array", "items": pair},
                "weights": numbers_of | {"nullable": True},
                "degree": numbers_of | {"nullable": not centre},
            },
            "required": ["nodes", "edges", *(["degree"] if centre else [])],
            "description": "edges are pairs of places in nodes"
            + (", of which the first is asked about" if centre else ""),
            "example": {"nodes": [median, median], "edges": [[0, 1]], **({"degree": [1, 1]} if centre else {})},
        }

    MEASURE = "nodes"

    def measure(self, column: pa.Array) -> np.ndarray:
        counts = pc.list_value_length(column.drop_null().field("nodes"))
        return to_numpy(counts).astype(np.float64)

    def show(self, field: TensorField, columns: Sequence[pa.Array]) -> Sequence[Mark]:
        has_center = bool(field.state["centre"])
        graphs = (_decoded(field, row) for row in self.encode(field, columns))
        return [marks.Graph(len(one.nodes), one.edges.tolist(), has_center, field.columns[0]) for one in graphs]

    def hash_input(self, column: pa.Array) -> list[bytes]:
        return [b"".join(_bytes(part) for part in vars(graph).values()) for graph in unpack(column)]


def _max_nodes(counts: Sequence[int], features: int) -> int:
    """Return the nodes of the largest graph, at most MAX_NODES, and fewer where rows are very many."""
    most = min(MAX_NODES, max(counts))
    while most > 16 and len(counts) * most * (features + 2 + most) > VALUES:
        most -= 1
    return most


def _typed(column: pa.StructArray) -> pa.StructArray:
    """Return a column as TYPE; a row without nodes or edges is null."""
    names = {field.name for field in column.type}
    parts = [
        pc.struct_field(column, part.name).cast(part.type) if part.name in names else pa.nulls(len(column), part.type)
        for part in TYPE
    ]
    lacking = pc.or_(parts[0].is_null(), parts[1].is_null())
    return pa.StructArray.from_arrays(parts, fields=list(TYPE), mask=lacking)


def _decoded(field: TensorField, row: np.ndarray) -> graph_type.Graph:
    """Return the graph of an encoded row (M, F + 2 + M)."""
    features = field.state["features"]
    count = int(row[:, features].sum())
    adjacency = np.triu(row[:count, features + 2 : features + 2 + count])
    pairs = np.argwhere(adjacency)
    nodes = row[:count, :features] * np.asarray(field.state["std"]) + np.asarray(field.state["mean"])
    weights = adjacency[tuple(pairs.T)]
    degree = row[:count, features + 1] if field.state["centre"] else None
    return graph_type.Graph(nodes, pairs, None if (weights == 1).all() else weights, degree)


def _bytes(part: np.ndarray | None) -> bytes:
    data = b"" if part is None else np.ascontiguousarray(part + 0.0, dtype="<f8").tobytes()
    return len(data).to_bytes(8, "little") + data
