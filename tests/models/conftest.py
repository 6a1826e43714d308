"""Small synthetic inputs of every kind, and targets of every task."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from evergreen.models.network import Network
from evergreen.stages.checking.sample_inputs import INPUTS, Field, make_network, rows

torch.set_num_threads(1)


@pytest.fixture
def make() -> Callable[..., dict[str, Tensor]]:
    return rows


@pytest.fixture
def network() -> Callable[..., Network]:
    """Make a network with the same weights at every call: "mlp", "classification", ("number",), **options."""
    return make_network


@pytest.fixture
def inputs() -> dict[str, Field]:
    """One field of every kind."""
    return INPUTS
