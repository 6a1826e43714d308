"""A graph whose nodes are to be predicted: a folder that holds edges.csv and, for what is known of nodes, nodes.csv.

edges.csv: two columns of names of nodes, maybe a third of weights; a line of column names or none. nodes.csv: a line of
column names; first the name of each node, last its label (or in the column called `label`). Number columns between are
features of the node and of its neighbours; others stay columns beside the graph. Each node becomes a row: id, graph
(all within 2 hops, true degrees), label. Nodes without a label are set aside when rows are prepared: they are seen as
neighbours alone.
`graph:FOLDER?label=COLUMN&hops=1&most=64&features=place` says otherwise (_neighborhoods.py). Files may end in .tsv
as well.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import sources
from evergreen.data.arrow import to_float64
from evergreen.data.sources._files import hash_files
from evergreen.data.sources._neighborhoods import NodeGraph, parse_hops, parse_options
from evergreen.data.sources.csv import CsvSource as Table
from evergreen.data.sources.csv import detect_delimiter

FOLDER_OF = ("edges.csv", "edges.tsv")
Faults = list[tuple[str, str]]  # origin, what is wrong


class Edge(NamedTuple):
    origin: str
    nodes: tuple[str, str]
    weight: str | None


class GraphSource(sources.Source):
    VERSION = 2  # more encodings are found
    READS_TEXT = True

    def __init__(self, name: str, root: Path) -> None:
        bare, self.options = parse_options(name, ["label"])
        super().__init__(bare, root)

    def read(self) -> Iterator[pa.RecordBatch]:
        listed, path = self._file("edges"), self._file("nodes")
        if listed is None:
            fix = "name a folder that holds edges.csv (two columns) and nodes.csv (name, features …, label)"
            raise DataError("there is no edges.csv", place=str(self.root / self.name), fix=fix)
        edges = self._edges(listed)
        mentioned = {name for edge in edges[1:] for name in edge.nodes}
        nodes, faults = self._nodes(path) if path else (_bare(sorted(mentioned), listed.name), [])
        places = {name: place for place, name in enumerate(nodes.column("id").to_pylist())}
        if edges and not set(edges[0].nodes) & set(places):
            edges = edges[1:]  # a line of column names
        graph, strange = _network(edges, places, listed)
        columns, features = self._divided(nodes)
        features = None if self.options.get("features") == "place" else features
        for table in graph.tables(features, columns, **parse_hops(self.options)):
            yield from _with_faults(table).to_batches()
        yield from _with_faults(table.slice(0, 0), faults + strange).to_batches()

    def fingerprint(self) -> str:
        paths = [path for path in (self._file("edges"), self._file("nodes")) if path]
        return " ".join([hash_files(paths), *(f"{name}={value}" for name, value in sorted(self.options.items()))])

    def _file(self, stem: str) -> Path | None:
        paths = [self.root / self.name / f"{stem}{end}" for end in (".csv", ".tsv")]
        return next((path for path in paths if path.is_file()), None)

    def _divided(self, nodes: pa.Table) -> tuple[pa.Table, np.ndarray | None]:
        """Return the columns beside the graph, with the label and `_origin` last, and the numbers that go into it."""
        others = nodes.column_names[1:-1]
        label = self.options.get("label") or ("label" if "label" in others else others[-1] if others else "")
        if not label:
            return nodes, None
        if label not in others:
            raise DataError(f"nodes.csv has no column '{label}'", place=self.name, fix=suggest(label, others))
        columns, features = {"id": nodes.column("id")}, []
        last = {label: nodes.column(label), "_origin": nodes.column("_origin")}
        for name in others:
            values, faults = to_float64(nodes.column(name).combine_chunks())
            if name != label and (faults or np.isnan(values).all()):
                columns[name] = nodes.column(name)
            elif name != label:
                features.append(np.where(np.isnan(values), np.nanmean(values), values))
        return pa.table(columns | last), np.stack(features, 1) if features else None

    def _edges(self, path: Path) -> list[Edge]:
        """Return every line of the file, also a first line of column names."""
        with self.open_text(path) as file:
            lines = {number: line for number, line in enumerate(file, 1) if line.strip() and not line.startswith("#")}
        mark = detect_delimiter("".join(list(lines.values())[:50]))
        edges = []
        for number, line in lines.items():
            words = next(csv.reader([line], delimiter=mark)) if mark in line else line.split()
            words = [word.strip() for word in words]
            if len(words) not in (2, 3) or not all(words):
                fix = "give the names of two nodes a line, and maybe a weight"
                raise DataError("is not an edge", place=f"{path}, line {number}", fix=fix)
            edges.append(Edge(f"{path.name}#{number}", (words[0], words[1]), words[2] if len(words) > 2 else None))
        return edges

    def _nodes(self, path: Path) -> tuple[pa.Table, Faults]:
        """Return the table, its first column named `id` and `_origin` last, and the lines that are not nodes."""
        read = pa.Table.from_batches(list(Table(str(path), path.parent).adopt_settings(self).read())).combine_chunks()
        unread = read.filter(read.column("_fault").is_valid()).select(["_origin", "_fault"]).to_pylist()
        table = read.filter(read.column("_fault").is_null()).drop_columns("_fault")
        names = [name.strip() for name in table.column(0).to_pylist()]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"the node '{twice}' occurs twice", place=str(path), fix="write one line per node")
        table = table.rename_columns(["id", *table.column_names[1:]]).set_column(0, "id", pa.array(names, pa.string()))
        return table, [(row["_origin"], row["_fault"]) for row in unread]


def _bare(names: list[str], file: str) -> pa.Table:
    """Return nodes of which only the edges are known."""
    return pa.table({"id": names, "_origin": [f"{file}#{name}" for name in names]})


def _network(edges: list[Edge], places: dict[str, int], path: Path) -> tuple[NodeGraph, Faults]:
    """Return the graph of the edges between known nodes, and errors of the other edges."""
    known = [edge for edge in edges if all(name in places for name in edge.nodes)]
    strange = [
        (edge.origin, f"an edge to '{name}', which nodes.csv does not list")
        for edge in edges
        for name in edge.nodes
        if name not in places
    ]
    if not known:
        raise DataError("no edge joins two known nodes", place=str(path), fix="compare the names in both files")
    weights, _ = to_float64(pa.array([edge.weight for edge in known], pa.string()))
    weighted = any(edge.weight is not None for edge in known)
    if weighted and not (weights >= 0).all():
        worst = known[int(np.argmin(weights >= 0))]
        fix = "give every edge a weight of 0 or more, or none"
        raise DataError(f"'{worst.weight or ''}' is not a valid weight", place=worst.origin, fix=fix)
    pairs = np.array([[places[name] for name in edge.nodes] for edge in known])
    return NodeGraph(len(places), pairs, weights if weighted else None), strange


def _with_faults(table: pa.Table, faults: Faults | None = None) -> pa.Table:
    """Return the table with a column `_fault`, and a row for each error."""
    rows = {name: pa.nulls(len(faults or []), table.schema.field(name).type) for name in table.column_names}
    origins, reasons = ([one[side] for one in faults or []] for side in (0, 1))
    extra = pa.table({**rows, "_origin": pa.array(origins, pa.string()), "_fault": pa.array(reasons, pa.string())})
    good = table.append_column("_fault", pa.nulls(len(table), pa.string()))
    return pa.concat_tables([good, extra.cast(good.schema)]).combine_chunks()
