"""Graphs from files to tensors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.graph_type import Graph, pack, unpack
from evergreen.data.sources import _neighborhoods as neighbourhoods
from evergreen.data.sources import open_source
from evergreen.data.sources._neighborhoods import NodeGraph


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "edges.csv").write_text("from,to\nann,bob\nbob,cid\ncid,dan\ndan,eve\n")
    (tmp_path / "nodes.csv").write_text("name,age,town,club\nann,1,x,a\nbob,2,y,b\ncid,3,x,a\ndan,4,y,\neve,5,y,b\n")
    return tmp_path


def read(folder, query=""):
    return pa.Table.from_batches(list(open_source(f"graph:{folder}{query}", folder).read()))


def test_each_node_is_a_row_with_what_lies_within_two_steps(folder):
    table = read(folder)
    assert table.column_names == ["id", "graph", "town", "club", "_origin", "_fault"]
    ann = table["graph"][0].as_py()
    assert ann["nodes"] == [[1], [2], [3]]  # ann, bob, cid; dan is three steps away
    assert ann["edges"] == [[0, 1], [1, 2]]
    assert ann["degree"] == [1, 2, 2]  # cid knows dan, too
    assert table["_origin"][0].as_py() == "nodes.csv#2"


def test_options_say_the_reach_and_the_label(folder):
    assert [len(row["nodes"]) for row in read(folder, "?hops=1")["graph"].to_pylist()] == [2, 3, 3, 3, 2]
    assert [len(row["nodes"]) for row in read(folder, "?most=2")["graph"].to_pylist()] == [2] * 5
    table = read(folder, "?label=age")
    assert table.column_names[-3] == "age"
    with pytest.raises(DataError, match="hop"):
        read(folder, "?hopps=1")


def test_an_edge_to_an_unknown_node_is_set_aside_by_name(folder):
    with (folder / "edges.csv").open("a") as file:
        file.write("eve,zoe\n")
    table = read(folder)
    assert [fault for fault in table["_fault"].to_pylist() if fault] == [
        "an edge to 'zoe', which nodes.csv does not list"
    ]
    assert table["_origin"].to_pylist()[-1] == "edges.csv#6"
    assert table["graph"][4].as_py()["degree"][0] == 1


def test_edges_may_lack_column_names_and_bring_weights_twice(folder):
    (folder / "edges.csv").write_text("ann bob 2\nbob ann 3\nbob bob 9\nbob cid 1\n")
    ann = read(folder)["graph"][0].as_py()
    assert (ann["edges"], ann["weights"], ann["degree"]) == ([[0, 1], [1, 2]], [3, 1], [3, 4, 1])


def test_nodes_without_features_are_told_apart(tmp_path, monkeypatch):
    (tmp_path / "edges.tsv").write_text("1\t2\n2\t3\n3\t1\n")
    table = read(tmp_path)
    assert table["graph"][0].as_py()["nodes"] == np.eye(3).tolist()
    monkeypatch.setattr(neighbourhoods, "ONE_HOT", 10)
    ring = NodeGraph(40, np.array([[node, (node + 1) % 40] for node in range(40)]))
    assert ring.features().shape == (40, 17)  # the degree and 16 coordinates


def test_mistakes_in_the_files_are_named(folder):
    for text, problem in (
        ("ann,bob,cid,dan\n", "line 1: is not an edge"),
        ("x,y\nz,w\n", "no edge joins"),
        ("ann,bob,-1\n", "weight"),
    ):
        (folder / "edges.csv").write_text(text)
        with pytest.raises(DataError, match=problem):
            read(folder)
    (folder / "edges.csv").unlink()
    with pytest.raises(DataError, match=r"no edges\.csv"):
        read(folder)


def test_the_nearest_nodes_are_kept():
    star = NodeGraph(6, np.array([[0, 1], [1, 2], [1, 3], [1, 4], [0, 5]]), np.array([1, 1, 1, 5, 1]))
    kept = star.neighbourhood(0, np.arange(6)[:, None], most=4)
    assert kept.nodes[:, 0].tolist() == [0, 1, 5, 4]
    assert kept.degree.tolist() == [2, 8, 1, 5]


def test_a_column_of_graphs_as_tensors():
    graphs = [Graph(np.array([[1.0, 0], [3, 1]]), np.array([[0, 1]])), Graph(np.array([[5.0, 1]]), np.zeros((0, 2)))]
    kind = kinds.find("graph")
    column, faults = kind.validate(pack(graphs))
    field = kind.fit({"graph": column})
    assert (faults, field.shape, field.state["centre"]) == ({}, (2, 6), False)
    first, second = kind.encode(field, [column])
    assert first[:, 2:].tolist() == [[1, 1, 0, 1], [1, 1, 1, 0]]  # real, degree, adjacency
    assert first[:, 1].tolist() == [0, 1]  # what is 0 or 1 stays so
    assert second[:, 2:].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"nodes": [[1.0, 2.0]], "edges": [[0, 1]]}, "not there"),
        ({"nodes": [[1.0], [2.0, 3.0]], "edges": []}, "features"),
        ({"nodes": [[1.0, 2.0]], "edges": [[0]]}, "no pair"),
        ({"nodes": [], "edges": []}, "no nodes"),
        ({"nodes": [[1.0, float("nan")]], "edges": []}, "NaN"),
    ],
)
def test_what_is_no_graph_is_a_fault_of_its_row_alone(row, fault):
    good = {"nodes": [[1.0, 2.0]], "edges": [[0, 0]]}
    kind = kinds.find("graph")
    column, faults = kind.validate(pa.array([good, row, good, None]))
    assert list(faults) == [1]
    assert fault in faults[1]
    assert column.null_count == 1
    field = kind.fit({"graph": column.take(pa.array([0, 2]))})
    with pytest.raises(DataError):
        kind.from_json(field, 0, row)


def test_graphs_survive_packing():
    graph = Graph(np.ones((2, 3)), np.array([[0, 1]]), np.array([0.5]), np.array([1.0, 2.0]))
    (one, other) = unpack(pack([graph, graph]).slice(0, 2))
    assert one.to_json() == other.to_json() == graph.to_json()
