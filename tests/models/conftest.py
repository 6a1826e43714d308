"""Small synthetic inputs of every kind, and targets of every task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from models.base import Network, build

torch.set_num_threads(1)


@dataclass(frozen=True)
class Field:
    kind: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)


INPUTS = {
    "number": Field("number", (5,)),
    "category": Field("category", (2,), (3, 4)),
    "image": Field("image", (1, 8, 8)),
    "series": Field("series", (6, 2)),
}
TARGETS = {
    "category": Field("category", (), (3,), {"values": [["red", "green", "blue"]]}),
    "number": Field("number", (), (), {"mean": [10.0], "std": [2.0]}),
    "series": Field("series", (2,), (), {"mean": [10.0], "std": [2.0]}),
}


def rows(kinds: tuple[str, ...], target: str, count: int, seed: int = 0) -> dict[str, Tensor]:
    """`count` rows whose target can be learned from their inputs."""
    random = torch.Generator().manual_seed(seed)
    batch = {kind: torch.randn(count, *INPUTS[kind].shape, generator=random) for kind in kinds}
    if "category" in kinds:
        columns = [torch.randint(size, (count,), generator=random) for size in INPUTS["category"].sizes]
        batch["category"] = torch.stack(columns, 1)
    first = batch[kinds[0]].flatten(1).float()
    signal = torch.stack([first[:, 0], first[:, 1], -first[:, 0]], 1)
    targets = {"category": signal.argmax(1), "number": signal[:, 0], "series": signal[:, :2]}
    return {**batch, "target": targets[target]}


@pytest.fixture
def make() -> Callable[..., dict[str, Tensor]]:
    return rows


@pytest.fixture
def network() -> Callable[..., Network]:
    """network("mlp", "classification", ("number",), **options): the same weights at every call."""

    def made(
        architecture: str = "mlp", task: str = "classification", kinds: tuple[str, ...] = ("number",), **options: Any
    ) -> Network:
        from models.base import task as find

        torch.manual_seed(1)
        return build(architecture, task, {k: INPUTS[k] for k in kinds}, TARGETS[find(task).TARGET], **options)

    return made


@pytest.fixture
def inputs() -> dict[str, Field]:
    """One field of every kind."""
    return INPUTS
