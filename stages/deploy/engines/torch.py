"""PyTorch computes every network, operator by operator."""

from pathlib import Path

from evergreen.models.network import Network
from evergreen.stages.artifacts import Model


def load(folder: Path, model: Model) -> Network:
    """Return the network as it is."""
    return model.network
