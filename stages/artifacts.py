"""Read and write stored things: where they lie, what identifies them, how a model becomes files."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from evergreen.core import parts
from evergreen.core.errors import PipelineError, UserError
from evergreen.core.files import atomic_directory, read_json, write_json

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.data.spec import FeatureSpec
    from evergreen.data.unusual_values import UnusualValues
    from evergreen.models.answers import Objects
    from evergreen.models.network import Network
    from evergreen.stages.answer_table import Answers

Part = TypeVar("Part")  # what is answered to a batch

WEIGHTS, CARD = "weights.safetensors", "model.json"
FORMAT = 1  # of a card
MISFITS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, AssertionError)
PARTS = "parts"  # the folder in a model's that holds the source of each part of the project that it is made of
SCRATCH = "scratch"  # the folder in a transferred candidate's that holds the same network trained from scratch


def folder_version(folder: Path) -> str:
    """Return a hash of the names and contents of all files under `folder`, in hex."""
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").digest()
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + digest)
    return total.hexdigest()


@dataclass(frozen=True)
class Model:
    """A stored network, ready to answer: it carries the spec it was trained with and needs no training data."""

    network: Network
    spec: FeatureSpec
    card: dict[str, Any]
    extend: Callable[[Objects], Objects] | None = None  # what more its answers are to say

    def predict(
        self, table: pa.Table, batch_size: int = 1024, unusual: UnusualValues | None = None
    ) -> list[dict[str, Any]]:
        """Return one answer per row of raw columns, as the task words it; count in `unusual` what is new about them."""
        parts = self._answer(self.network.predict, table, batch_size, unusual=unusual)
        answers = [one for part in parts for one in part]
        return self.extend(answers) if self.extend and answers else answers

    def answer(
        self, table: pa.Table, batch_size: int = 1024, unusual: UnusualValues | None = None, *, is_valid: bool = False
    ) -> Answers:
        """Return the same answers, as columns or objects; FeatureSpec.encode says what `is_valid` is."""
        from evergreen.models.answers import answer_in_columns
        from evergreen.stages.answer_table import Answers

        answer = partial(answer_in_columns, self.network)
        answers = Answers([*self._answer(answer, table, batch_size, unusual=unusual, is_valid=is_valid)])
        return Answers([self.extend(answers.objects)]) if self.extend else answers

    def _answer(
        self, answer: Callable[[Any], Part], table: pa.Table, batch_size: int, **options: Any
    ) -> Iterator[Part]:
        import torch

        with torch.inference_mode():
            for start in range(0, table.num_rows, batch_size):
                arrays = self.spec.encode(table.slice(start, batch_size), target=False, **options)
                yield answer({name: torch.as_tensor(array) for name, array in arrays.items()})


def save_model(
    folder: Path,
    network: Network,
    card: dict[str, Any],
    extra_models: Mapping[str, tuple[Network, dict[str, Any]]] | None = None,
) -> None:
    """Write `folder` anew: the weights and the card, and those of `extra_models`, each in a folder of its name.

    The same networks and cards give the same bytes.
    """
    with atomic_directory(folder) as new:
        _write_model(new, network, card)
        for name, (other, its_card) in (extra_models or {}).items():
            (new / name).mkdir()
            _write_model(new / name, other, its_card)


def _write_model(folder: Path, network: Network, card: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    # unsorted: a layer's weights are in the order of the spec's inputs
    write_json(folder / CARD, {"format": FORMAT, **card}, sort=False)
    for group, name in _parts(card):
        if text := parts.text_of(group, name):
            file = folder / PARTS / group / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")


def _parts(card: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return group and name of each part that a model needs to answer."""
    kinds = {field.get("encoder") or field["kind"] for field in _fields(card)}
    return {("architectures", card["architecture"]), ("tasks", card["task"]), *(("kinds", kind) for kind in kinds)}


def _fields(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*card["spec"]["inputs"].values(), card["spec"]["target"]]


def _with_own_parts(folder: Path, card: dict[str, Any]) -> dict[str, Any]:
    """Return the card with the parts that lie beside it in the place of the project's of the same name."""
    files = sorted((folder / PARTS).glob("*/*.py"))
    texts = {f"{file.parent.name}/{file.stem}": file.read_text(encoding="utf-8") for file in files}
    if not texts:
        return card
    names, card = parts.carry(texts), copy.deepcopy(card)
    for key, group in (("architecture", "architectures"), ("task", "tasks")):
        card[key] = names.get(f"{group}/{card[key]}", card[key])
    for field in _fields(card):
        if carried := names.get(f"kinds/{field.get('encoder') or field['kind']}"):
            field["encoder"] = carried
    return card


def load_model(folder: Path) -> Model:
    """Load the model in `folder`, in evaluation mode.

    Keys that this Evergreen does not know are passed over. Raises PipelineError where a file is missing or broken, was
    written by a newer Evergreen, or names a part or a state that this one cannot build.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from evergreen.data.spec import FeatureSpec
    from evergreen.models.registry import build

    again = "run the train stage again, or fetch the released version again"
    card = read_json(folder / CARD, "architecture", "task", "spec", known_format=FORMAT)
    try:
        own = _with_own_parts(folder, card)
        spec = FeatureSpec.from_json(own["spec"])
        architecture, task, options = own["architecture"], own["task"], own.get("options", {})
        network = build(architecture, task, spec.inputs, spec.target, spec.task_options, **options)
    except UserError as error:
        fix = "install the Evergreen that trained it, or train it again"
        place = str(folder / CARD)
        raise PipelineError(f"this Evergreen cannot build it ({error})", place=place, fix=fix) from error
    except MISFITS as error:
        problem = f"is not a model card ({type(error).__name__}: {error})"
        raise PipelineError(problem, place=str(folder / CARD), fix=again) from error
    try:
        network.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    except FileNotFoundError:
        raise PipelineError("no such file", place=str(folder / WEIGHTS), fix=again) from None
    except OSError as error:
        raise PipelineError(f"cannot be read ({error})", place=str(folder / WEIGHTS), fix=again) from None
    except SafetensorError as error:
        raise PipelineError(f"broken ({error})", place=str(folder / WEIGHTS), fix=again) from None
    except RuntimeError as error:
        problem = f"does not match {CARD} ({' '.join(str(error).split()):.300})"
        raise PipelineError(problem, place=str(folder / WEIGHTS), fix=again) from None
    return Model(network.eval(), spec, card)
