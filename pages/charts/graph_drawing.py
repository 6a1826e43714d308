"""Draw a graph: its center in the middle and the rest in rings by their distance from it; or all in one ring."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evergreen.pages.charts.svg import svg

SIDE = 220  # units of the drawing, about pixels


def graph(mark: Mapping[str, Any]) -> str:
    """Draw nodes and edges; the node that is asked about is larger, in another color, and lies on top."""
    count, edges = mark["n_nodes"], [tuple(edge) for edge in mark["edges"]]
    places = _places(rings(count, edges) if mark["has_center"] else [list(range(count))])
    parts = [_edge(*places[a], *places[b]) for a, b in edges]
    radius = 5 if count <= 40 else 3
    for node, (x, y) in sorted(places.items(), reverse=True):
        is_center = mark["has_center"] and node == 0
        size = radius + 2 if is_center else radius
        parts.append(f'<circle class="{"b" if is_center else "a"}" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>')
    return svg(parts, "graph", SIDE, SIDE, mark["title"])


def rings(count: int, edges: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return nodes by their distance from node 0; those that cannot be reached come last."""
    near: dict[int, set[int]] = {node: set() for node in range(count)}
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    layers, left = [[0]], set(range(1, count))
    while left:
        ring = sorted(node for node in left if not near[node].isdisjoint(layers[-1])) or sorted(left)
        layers.append(ring)
        left -= set(ring)
    return layers


def _places(rings: Sequence[Sequence[int]]) -> dict[int, tuple[float, float]]:
    radius = SIDE / 2 - 10
    places = {}
    for number, ring in enumerate(rings):
        distance = radius if len(rings) == 1 else radius * number / (len(rings) - 1)
        for place, node in enumerate(ring):
            turn = 2 * math.pi * (place + 0.5 * (number % 2)) / len(ring)
            places[node] = (SIDE / 2 + distance * math.sin(turn), SIDE / 2 - distance * math.cos(turn))
    return places


def _edge(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
