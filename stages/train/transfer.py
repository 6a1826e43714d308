"""Begin with the weights of a released version instead of random ones.

Features learned on much data often serve where there is little (Yosinski et al. 2014); and sometimes they hurt, so the
same network is also trained from scratch where that is cheap, and the report says which is better.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from safetensors.torch import load_file

from evergreen.core.errors import PipelineError, suggest
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.data.spec import FeatureSpec
from evergreen.models.network import Network
from evergreen.stages.artifacts import CARD, WEIGHTS, folder_version
from evergreen.stages.pipeline import names

PLACE = "train.init_from"


@dataclass(frozen=True)
class InitWeights:
    """Hold a released version whose weights a run starts with."""

    name: str  # NAME@VERSION
    folder: Path
    bytes: str  # what it is
    architecture: str
    options: dict[str, Any]

    @classmethod
    def find(cls, text: str, paths: Paths) -> Self:
        """Find NAME@VERSION, or NAME for the version in production. Raises PipelineError where there is none."""
        from evergreen.stages.engines import versions

        name, _, version = text.partition("@")
        if name not in names(paths.root):
            fix = suggest(name, names(paths.root), "pipelines")
            raise PipelineError(f"there is no pipeline {name!r}", place=PLACE, fix=fix)
        version = version or versions.released(paths.root).get(name, "")
        other = Paths(paths.root, name)
        if not version or not any(one.version == version for one in versions.versions(other)):
            problem = f"{name} has no version {version}" if version else f"{name} has no released version"
            known = ", ".join(one.version for one in versions.versions(other))
            fix = f"its versions: {known}" if known else f"make one first: evergreen run {name}"
            raise PipelineError(problem, place=PLACE, fix=fix)
        folder = versions.checkout(other, version)
        card = read_json(folder / CARD)
        return cls(f"{name}@{version}", folder, folder_version(folder), card["architecture"], card["options"])


def load_matching_weights(network: Network, folder: Path, spec: FeatureSpec) -> tuple[int, int]:
    """Load weights of the same name and shape; return the numbers of tensors loaded and of all.

    The head is loaded only where the target is the same, and never what its rows chose, such as a temperature. Raises
    PipelineError where no feature's weight fits.
    """
    weights, own = load_file(folder / WEIGHTS), network.state_dict()
    same = _target_meaning(FeatureSpec.from_json(read_json(folder / CARD)["spec"])) == _target_meaning(spec)
    chosen = {f"task.{name}" for name, _ in network.task.named_buffers()}
    fitting = {
        name: tensor
        for name, tensor in weights.items()
        if name in own.keys() - chosen and own[name].shape == tensor.shape and (same or not name.startswith("task."))
    }
    learned = {f"architecture.{name}" for name, _ in network.architecture.named_parameters()}
    if not learned & set(fitting):
        why = "it has no features of its own" if not learned else "its weights have other names or shapes"
        fix = "start from a version whose inputs have the same shapes, or leave init_from out"
        raise PipelineError(f"none of its weights fit: {why}", place=PLACE, fix=fix)
    network.load_state_dict({**own, **fitting})
    return len(fitting), len(own)


def freeze_backbone(network: Network) -> None:
    """Freeze the features, so that the task's head alone learns."""
    network.architecture.requires_grad_(False)


def _target_meaning(spec: FeatureSpec) -> tuple[Any, ...]:
    """Return what a head answers, for comparison."""
    target = spec.target
    return spec.task, spec.target_name, target.kind, target.shape, target.state.get("values")
