"""A graph as a drawing: its centre in the middle and the rest in rings by how far they are; or all in one ring."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

SIDE = 220  # units of the drawing, about pixels


def graph(row: np.ndarray, state: Mapping[str, Any], alt: str) -> str:
    """SVG of one encoded graph (M, F + 2 + M), with the state of its field."""
    features, centre = state["features"], state["centre"]
    count = int((row[:, features] > 0).sum())
    adjacency = row[:count, features + 2 : features + 2 + count] > 0
    places = _places(_rings(adjacency) if centre else [list(range(count))])
    parts = [_edge(places[a], places[b]) for a, b in np.argwhere(np.triu(adjacency))]
    dot = 5 if count <= 40 else 3
    for node, (x, y) in sorted(places.items(), reverse=True):  # the centre lies on top
        style = "b" if centre and node == 0 else "a"
        parts.append(f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{dot + 2 if style == "b" else dot}"/>')
    inner = f"<title>{escape(alt)}</title>{''.join(parts)}"
    return f'<svg viewBox="0 0 {SIDE} {SIDE}" width="100%" role="img">{inner}</svg>'


def _rings(adjacency: np.ndarray) -> list[list[int]]:
    """Nodes by their distance from node 0; those that cannot be reached come last."""
    rings, left = [[0]], set(range(1, len(adjacency)))
    while left:
        next_ring = sorted(node for node in left if adjacency[node, rings[-1]].any()) or sorted(left)
        rings.append(next_ring)
        left -= set(next_ring)
    return rings


def _places(rings: list[list[int]]) -> dict[int, tuple[float, float]]:
    radius = SIDE / 2 - 10
    places = {}
    for number, ring in enumerate(rings):
        far = radius if len(rings) == 1 else radius * number / (len(rings) - 1)
        for place, node in enumerate(ring):
            turn = 2 * math.pi * (place + 0.5 * (number % 2)) / len(ring)
            places[node] = (SIDE / 2 + far * math.sin(turn), SIDE / 2 - far * math.cos(turn))
    return places


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    return f'<line class="grid" x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'
