"""A graph's drawing."""

from evergreen.core.marks import Graph
from evergreen.pages.charts.graph_drawing import graph, rings

PATH = [(0, 1), (1, 2), (2, 3)]


def test_every_node_and_edge_is_drawn_and_the_center_stands_out():
    drawn = graph(Graph(4, PATH, True, "a <path>").to_json())
    assert drawn.count("<circle") == 4
    assert drawn.count("<line") == 3
    assert drawn.count('class="b"') == 1
    assert "a &lt;path&gt;" in drawn
    assert 'class="b"' not in graph(Graph(4, PATH, False).to_json())


def test_rings_are_distances_and_what_cannot_be_reached_comes_last():
    assert rings(5, PATH) == [[0], [1], [2], [3], [4]]
