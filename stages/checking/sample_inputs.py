"""Make small inputs of every kind, targets of every task, and networks on them: a part is checked with these."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from evergreen.models.network import Network
from evergreen.models.registry import build, find_task

WORDS = ["", "�", "⟨", "⟩", "a", "b", "c", "d", "e"]  # padding, unknown, begin, end, and five words
NODES, FEATURES = 4, 3  # of a graph


@dataclass(frozen=True)
class Field:
    """Stand in for a field of a batch."""

    kind: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)


def _text(length: int) -> Field:
    state = {"values": [WORDS[4:]], "sizes": [len(WORDS)], "unit": "character", "length": length}
    return Field("text", (length,), (len(WORDS),), state)


INPUTS = {
    "number": Field("number", (5,)),
    "category": Field("category", (2,), (3, 4)),
    "image": Field("image", (1, 8, 8)),
    "series": Field("series", (6, 2)),
    "text": _text(6),
    "labels": Field("labels", (3,), (3,), {"values": [["x", "y", "z"]]}),
    "audio": Field("audio", (8, 4), (), {"rate": 8000, "mel": 4}),
    "graph": Field("graph", (NODES, FEATURES + 2 + NODES), (), {"features": FEATURES, "nodes": NODES, "centre": True}),
    "seed": Field("seed", ()),
}
PAIRS = [("number", "category"), ("text", "number"), ("category", "seed")]  # inputs of several kinds
SCALE = {"mean": [10.0], "std": [2.0]}
TARGETS = {
    "category": Field("category", (), (3,), {"values": [["red", "green", "blue"]], "counts": [[4, 3, 1]]}),
    "number": Field("number", (), (), SCALE),
    "series": Field("series", (2,), (), SCALE),
    "labels": Field("labels", (3,), (3,), {"values": [["x", "y", "z"]], "counts": [[4, 3, 1]]}),
    "text": _text(5),
    "tags": Field("tags", (6,), (3,), {"values": [["O", "B-NAME", "I-NAME"]], "sizes": [3]}),
    "mask": Field("mask", (8, 8), (3,), {"values": [["ground", "tree", "car"]], "sizes": [3]}),
    "boxes": Field("boxes", (2, 5), (2,), {"values": [["cat", "dog"]], "sizes": [2]}),
    "image": Field("image", (1, 8, 8), (), {**SCALE, "pixels": [8, 8], "low": [-2.0], "high": [2.0]}),
}


def rows(kinds: tuple[str, ...], target: str, count: int, seed: int = 0) -> dict[str, Tensor]:
    """Return `count` rows whose target can be learned from their inputs."""
    random = torch.Generator().manual_seed(seed)
    batch = {kind: _input(kind, count, random) for kind in kinds}
    first = batch[kinds[0]].reshape(count, -1).float()
    first = first if first.shape[1] > 1 else torch.cat([first, -first], 1)
    signal = torch.stack([first[:, 0], first[:, 1], -first[:, 0]], 1)
    return {**batch, "target": _target(target, signal)}


def _input(kind: str, count: int, random: torch.Generator) -> Tensor:
    shape = (count, *INPUTS[kind].shape)
    if kind == "category":
        return torch.stack([torch.randint(size, (count,), generator=random) for size in INPUTS[kind].sizes], 1)
    if kind == "text":
        words = torch.randint(4, len(WORDS), shape, generator=random)
        words[1::2, 4:] = 0  # every second row is shorter
        return words
    if kind == "labels":
        return torch.randint(2, shape, generator=random).float()
    if kind == "seed":
        return torch.arange(count)
    x = torch.randn(shape, generator=random)
    if kind == "audio":
        x[1::2, 6:] = 0
    if kind == "graph":
        adjacency = torch.randint(2, (count, NODES, NODES), generator=random).float().triu(1)
        adjacency[:, 0, 1] = 1
        adjacency = adjacency + adjacency.transpose(1, 2)
        x[..., FEATURES], x[..., FEATURES + 1], x[..., FEATURES + 2 :] = 1, adjacency.sum(2), adjacency
    return x


def _target(kind: str, signal: Tensor) -> Tensor:
    count, classes = len(signal), signal.argmax(1)
    if kind in ("category", "number", "series"):
        return {"category": classes, "number": signal[:, 0], "series": signal[:, :2]}[kind]
    if kind == "labels":
        return (signal > 0).float()
    if kind == "text":
        ends = torch.tensor([3, 0]).expand(count, 2)
        return torch.cat([torch.stack([4 + classes, 4 + classes, 5 + classes], 1), ends], 1)
    if kind == "tags":
        tags = classes[:, None].expand(count, 6).clone()
        tags[1::2, 4:] = -100
        return tags
    if kind == "mask":
        return classes[:, None, None].expand(count, 8, 8).clone()
    if kind == "boxes":
        box = torch.tensor([0.0, 0.25, 0.25, 0.75, 0.75]).repeat(count, 1)
        box[:, 0] = (classes > 0).float()
        return torch.stack([box, torch.tensor([-1.0, 0, 0, 0, 0]).expand(count, 5)], 1)
    return signal[:, 0, None, None, None].expand(count, 1, 8, 8).clone().clamp(-2, 2)


def make_network(
    architecture: str = "mlp",
    task_name: str = "classification",
    kinds: tuple[str, ...] = ("number",),
    target: str = "",
    **options: Any,
) -> Network:
    """Return the same weights at every call. `target` is its kind, the task's first where it is left out."""
    torch.manual_seed(1)
    wanted = TARGETS[target or find_task(task_name).TARGETS[0]]
    return build(architecture, task_name, {kind: INPUTS[kind] for kind in kinds}, wanted, **options)
