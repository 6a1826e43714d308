"""Find the engines that compute a released network in a replica: one file each.

An engine is a module here with `load(folder, model)`, which returns the model's network as it answers requests, and
raises PipelineError where it cannot. Which one serves a version is decided once, when it is released
(stages/deploy/export.py); without a decision, as in older releases, it is torch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.core.errors import PipelineError

if TYPE_CHECKING:
    from evergreen.models.network import Network
    from evergreen.stages.artifacts import Model

AUTO = "auto"
DEFAULT = "torch"


def load_network(folder: Path, model: Model, wanted: str) -> tuple[str, Network]:
    """Return the engine's name and the network in it: the `wanted` one, or with "auto" the one that was decided for.

    Raises PipelineError where the wanted engine cannot compute this version.
    """
    name = model.card.get("engine", {}).get("name", DEFAULT) if wanted == AUTO else wanted
    try:
        return name, import_module(f"{__name__}.{name}").load(folder, model)
    except PipelineError:
        if wanted != AUTO or name == DEFAULT:
            raise
        return DEFAULT, model.network
