"""The one reader and writer of stored things: where they lie, what identifies them, how a model becomes files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.atomic import read_json, replace_folder, write_json
from stages.settings import PipelineError

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from data.spec import Spec
    from models.network import Network

__all__ = [
    "Model",
    "Paths",
    "code_version",
    "find_root",
    "folder_version",
    "load_model",
    "read_json",
    "replace_folder",
    "save_model",
    "write_json",
]

WEIGHTS, CARD = "weights.safetensors", "model.json"
SCRATCH = "scratch"  # the folder in a transferred candidate's that holds the same network trained from scratch


@dataclass(frozen=True)
class Paths:
    """Where the things of one pipeline lie, all absolute when `root` is."""

    root: Path
    name: str

    @property
    def pipeline(self) -> Path:
        return self.root / "pipelines" / f"{self.name}.yaml"

    @property
    def raw(self) -> Path:
        return self.root / "data" / "store" / self.name / "raw"

    @property
    def ready(self) -> Path:
        return self.root / "data" / "store" / self.name / "ready"

    @property
    def described(self) -> Path:
        """What a person should know of the prepared rows, and what changed since the last ones; nothing reads it."""
        return self.root / "data" / "store" / self.name / "described"

    @property
    def select(self) -> Path:
        return self.root / "models" / "store" / self.name / "choice" / "select.json"

    @property
    def tune(self) -> Path:
        return self.root / "models" / "store" / self.name / "choice" / "tune.json"

    @property
    def candidate(self) -> Path:
        return self.root / "models" / "store" / self.name / "candidate"

    @property
    def report(self) -> Path:
        return self.root / "models" / "store" / self.name / "report"

    @property
    def home(self) -> Path:
        """The ignored folder in which everything that runs lives."""
        return self.root / ".evergreen"

    @property
    def rejected(self) -> Path:
        """The rows for which the last preprocessing was stopped, if it was."""
        return self.home / "rejected" / self.name

    @property
    def run_folder(self) -> Path:
        return self.home / "runs" / self.name

    @property
    def trials(self) -> Path:
        return self.home / "trials" / f"{self.name}.jsonl"

    @property
    def released(self) -> Path:
        return self.home / "released" / self.name


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` (default: the working directory) with `dvc.yaml` and `pipelines/`."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "pipelines").is_dir():
            return folder
    raise PipelineError(
        "no dvc.yaml with a folder pipelines/ here or above",
        place=str(here),
        fix="change into a clone of the repository",
    )


def folder_version(folder: Path) -> str:
    """A hash of the names and contents of all files under `folder`, in hex."""
    return _hash(folder, sorted(path for path in folder.rglob("*") if path.is_file()))


def code_version() -> str:
    """A hash of the sources that decide what a model becomes: those of data, models and stages, in hex."""
    root = Path(__file__).resolve().parent.parent
    files = [path for room in ("data", "models", "stages") for path in (root / room).rglob("*.py")]
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

    from data.spec import Spec
    from models.catalogue import build

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
