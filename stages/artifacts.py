"""The one reader and writer of stored things: where they lie, what identifies them, how a model becomes files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json, replace_folder, write_json
from evergreen.core.paths import IMPORT_ROOT

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from evergreen.data.spec import Spec
    from evergreen.models.network import Network


WEIGHTS, CARD = "weights.safetensors", "model.json"
SCRATCH = "scratch"  # the folder in a transferred candidate's that holds the same network trained from scratch


def folder_version(folder: Path) -> str:
    """A hash of the names and contents of all files under `folder`, in hex."""
    return _hash(folder, sorted(path for path in folder.rglob("*") if path.is_file()))


def code_version() -> str:
    """A hash of the sources that decide what a model becomes: those of data, models and stages, in hex."""
    root = IMPORT_ROOT / "evergreen"
    files = [path for room in ("core", "data", "models", "stages") for path in (root / room).rglob("*.py")]
    return _hash(root, sorted(files))


def _hash(root: Path, files: list[Path]) -> str:
    total = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").digest()
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + digest)
    return total.hexdigest()


@dataclass(frozen=True)
class Model:
    """A stored network, ready to answer: it carries the spec it was trained with and needs no training data."""

    network: Network
    spec: Spec
    card: dict[str, Any]

    def predict(self, table: pa.Table, batch_size: int = 1024) -> list[dict[str, Any]]:
        """One answer per row of raw columns, as the task words it."""
        import torch

        if not table.num_rows:
            return []
        with torch.inference_mode():
            return [answer for batch in self._batches(table, batch_size) for answer in self.network.answer(batch)]

    def _batches(self, table: pa.Table, batch_size: int) -> Iterator[dict[str, Tensor]]:
        import torch

        for start in range(0, max(table.num_rows, 1), batch_size):
            arrays = self.spec.encode(table.slice(start, batch_size), target=False)
            yield {name: torch.as_tensor(array) for name, array in arrays.items()}


def save_model(
    folder: Path,
    network: Network,
    card: dict[str, Any],
    beside: Mapping[str, tuple[Network, dict[str, Any]]] | None = None,
) -> None:
    """Writes `folder` anew: the weights and the card, and those of models `beside` it, each in a folder of its name.

    The same networks and cards give the same bytes.
    """
    with replace_folder(folder) as new:
        _write_model(new, network, card)
        for name, (other, its_card) in (beside or {}).items():
            (new / name).mkdir()
            _write_model(new / name, other, its_card)


def _write_model(folder: Path, network: Network, card: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    write_json(folder / CARD, card, sort=False)  # the order of a spec's inputs is the order of a layer's weights


def load_model(folder: Path) -> Model:
    """The model in `folder`, in evaluation mode. Raises PipelineError when a part is missing, broken or unfit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from evergreen.data.spec import Spec
    from evergreen.models.registry import build

    again = "run the train stage again, or fetch the released version again"
    card = read_json(folder / CARD)
    try:
        spec = Spec.from_json(card["spec"])
        architecture, task, options = card["architecture"], card["task"], card["options"]
        network = build(architecture, task, spec.inputs, spec.target, spec.task_options, **options)
    except (KeyError, TypeError) as error:
        raise PipelineError(f"not the card of a model ({error!r})", place=str(folder / CARD), fix=again) from None
    try:
        network.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    except FileNotFoundError:
        raise PipelineError("no such file", place=str(folder / WEIGHTS), fix=again) from None
    except SafetensorError as error:
        raise PipelineError(f"broken ({error})", place=str(folder / WEIGHTS), fix=again) from None
    except RuntimeError as error:
        raise PipelineError(f"does not fit {CARD} ({error})", place=str(folder / WEIGHTS), fix=again) from None
    return Model(network.eval(), spec, card)
