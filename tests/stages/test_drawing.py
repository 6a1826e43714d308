"""A graph's drawing."""

from __future__ import annotations

import numpy as np

from evergreen.stages.drawing.graphs import _rings, graph

STATE = {"features": 1, "centre": True}


def path(nodes: int, places: int) -> np.ndarray:
    row = np.zeros((places, 3 + places), np.float32)
    row[:nodes, 1] = 1
    for node in range(nodes - 1):
        row[node, 3 + node + 1] = row[node + 1, 3 + node] = 1
    return row


def test_what_is_there_is_drawn_and_padding_is_not():
    drawn = graph(path(4, 6), STATE, "a <path>")
    assert drawn.count("<circle") == 4
    assert drawn.count("<line") == 3
    assert drawn.count('class="b"') == 1
    assert "a &lt;path&gt;" in drawn
    assert 'class="b"' not in graph(path(4, 6), {**STATE, "centre": False}, "")


def test_rings_are_distances_and_what_cannot_be_reached_comes_last():
    adjacency = path(5, 5)[:, 3:] > 0
    adjacency[3, 4] = adjacency[4, 3] = False
    assert _rings(adjacency) == [[0], [1], [2], [3], [4]]
