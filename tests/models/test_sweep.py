"""Every architecture with every task on every kind that it accepts: a new file in architectures/ is tested as it is."""

from __future__ import annotations

import dataclasses
import inspect
import json

import pytest
import torch

from evergreen.models.base import STEPS as STEPS_OF
from evergreen.models.base import Architecture
from evergreen.models.network import Network
from evergreen.models.registry import _form as form_of
from evergreen.models.registry import accepting, architecture, architectures, build, installed, task, tasks
from evergreen.models.training import checkpoint
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Loop, Recipe
from tests.models.conftest import INPUTS, TARGETS

KINDS = ("audio", "category", "graph", "image", "labels", "number", "series", "text")  # those that conftest makes
SETS = [*((kind,) for kind in KINDS), ("number", "category"), ("text", "number"), ("seed",), ("category", "seed")]


def fits(name: str, kinds: tuple[str, ...], job: str) -> bool:
    """Whether select would let the architecture race; `seed` is an input of what draws samples alone."""
    fields = {kind: INPUTS[kind] for kind in kinds}
    if ("seed" in kinds) != ("seed" in task(job).NEEDS):
        return False
    if "series" in task(job).TARGETS and "series" not in kinds:  # what comes next follows a history
        return False
    if task(job).FROM_ITSELF and kinds != task(job).TARGETS[:1]:
        return False
    return installed(architecture(name)) and name in accepting(fields, job)


CASES = [
    (name, kinds, job, target)
    for name in architectures()
    for kinds in SETS
    for job in tasks()
    if fits(name, kinds, job)
    for target in task(job).TARGETS
]
STEPS, EPOCHS = 5, (2, 3, 4, 6, 8, 10, 14, 20, 60)  # eight rows are seen so often an epoch, until they are learned
PATIENT = ((2e-2, 60), (5e-3, 60), (2e-3, 60))  # rates and most epochs
TRIES = ((3e-2, 20), (5e-2, 14), (1e-2, 20), *PATIENT)  # the first is quick, or too quick
FIRST = {  # what is known to be quick with some of them
    **dict.fromkeys(("vit", "resnet", "unet", "capsule", "inception"), ((1e-2, 6),)),
    "deconvolution": ((2e-2, 10),),
    "efficientnet": ((5e-3, 4),),
    "decoder": ((2e-2, 10),),
}
EACH = pytest.mark.parametrize(("name", "kinds", "job", "target"), CASES)


def rows(make, kinds: tuple[str, ...], job: str, target: str) -> dict[str, torch.Tensor]:
    batch = make(kinds, target, 8)
    if job == "anomaly":
        batch["target"][:4] = 0  # the class that is normal
    return {**batch, "target": batch[kinds[0]]} if task(job).FROM_ITSELF else batch


@EACH
def test_every_pair(name, kinds, job, target, network, make):
    made = network(name, job, kinds, target, size=0.5)
    batch = rows(make, kinds, job, target)
    _shapes(made, kinds, job, batch)
    _answers(made, batch)
    _serves(made, batch)
    _gradients(made, batch)
    _saved_and_loaded(made, network(name, job, kinds, target, size=0.5), batch)


@pytest.fixture(autouse=True, scope="module")
def libraries():
    """What is loaded once is no test's time."""
    for name, kind in (("gat", "graph"), ("encoder", "text")):
        build(name, "classification", {kind: INPUTS[kind]}, TARGETS["category"])


@EACH
def test_overfits_eight_rows(name, kinds, job, target, network, make):
    batch = rows(make, kinds, job, target)
    often = {column: torch.cat([values] * STEPS) for column, values in batch.items()}
    for rate, most in (*FIRST.get(name, ()), *TRIES):
        made = network(name, job, kinds, target, size=0.25)
        before, _ = made.judged(batch)
        recipe = Recipe(
            epochs=EPOCHS[-1], batch_size=8, learning_rate=rate, weight_decay=0, schedule="constant", clip=1.0
        )
        loop = Loop(made, TensorFeed(often, 8), batch, recipe)
        for epochs in (epochs for epochs in EPOCHS if epochs <= most):
            loop.run(epochs)
            if _learned(made, loop, before):
                return
    raise AssertionError(f"{before} before, then {[record['validation_loss'] for record in loop.history]}")


def _learned(made: Network, loop: Loop, before: float) -> bool:
    least = min(record["validation_loss"] for record in loop.history)
    own = type(made.architecture).loss is not Architecture.loss  # a criterion that may end where the task's goes on
    if own and loop.history[-1]["train_loss"] < 0.4 * loop.history[0]["train_loss"]:
        return True
    return least < 0.4 * before if made.task.LOSS else least < before or len(made.groups()) > 1


@pytest.mark.parametrize(
    ("name", "kinds", "job", "target"),
    [case for case in CASES if architecture(case[0]).TRIMS and {"text", "audio"} & {*case[1]} and case[3] != "text"],
)
def test_padding_that_all_rows_have_changes_no_answer(name, kinds, job, target, network, make):
    made, batch = network(name, job, kinds, target, size=0.5), make(kinds, target, 8)
    long = next(name for name in ("text", "audio") if name in kinds)
    along = [long, *(["target"] if target == "tags" else [])]
    steps = batch[long].shape[1] - 2
    batch[long][:, steps:] = 0
    short = {column: values[:, :steps] if column in along else values for column, values in batch.items()}
    whole = made.outputs(batch)
    whole = whole[:, :steps] if target == "tags" else whole
    assert torch.allclose(made.outputs(short), whole, atol=1e-5)


@pytest.mark.parametrize("name", dict.fromkeys(case[0] for case in CASES))
def test_size_is_a_dial(name, network):
    _, kinds, job, target = next(case for case in CASES if case[0] == name)
    small, large = (
        sum(p.numel() for p in network(name, job, kinds, target, size=size).parameters()) for size in (0.5, 2.0)
    )
    assert small < large or ("size" not in architecture(name).SPACE and small == large)


@pytest.mark.parametrize("name", architectures())
def test_space_and_recipe_name_what_exists(name):
    kind = architecture(name)
    fields = {field.name for field in dataclasses.fields(Recipe)}
    options = set(inspect.signature(kind).parameters) - {"inputs"}
    assert set(kind.SPACE) <= fields | options
    Recipe().but(**kind.RECIPE)
    assert kind.__doc__
    assert all(word in kind.__doc__ for word in ("In:", "Out:", "Choose", "size=1"))


def test_the_anchor_is_first(inputs):
    assert accepting(inputs)[0] == "linear"


def test_no_kind_is_left_out():
    taken = frozenset.union(*(architecture(name).ACCEPTS for name in architectures()))
    assert taken - {"*", "tokens"} == {kind for kinds in SETS for kind in kinds}  # tokens: tests/models/test_pretrained


def _shapes(made: Network, kinds: tuple[str, ...], job: str, batch: dict[str, torch.Tensor]) -> None:
    """Features have the form that the task was built for."""
    fields = {kind: INPUTS[kind] for kind in kinds}
    form, width = form_of(type(made.architecture), task(job), fields), made.architecture.features
    found = tuple(made.eval().architecture({kind: batch[kind] for kind in kinds}).shape)
    length = next((fields[kind].shape[0] for kind in kinds if kind in STEPS_OF), 0)
    wanted = {"row": (width,), "positions": (length, width), "causal": (length, width), "surprise": ()}
    wanted |= {"pixels": (width, 8, 8), "target": tuple(made.task.target.shape)}
    assert found == (8, *wanted[form])


def _serves(made: Network, batch: dict[str, torch.Tensor]) -> None:
    """A request of one row is answered in JSON, in evaluation mode, and alike when it is asked again."""
    one = {name: column[:1] for name, column in batch.items() if name != "target"}
    with torch.inference_mode():
        said = made.eval().answer(one)
        assert json.loads(json.dumps(said)) == json.loads(json.dumps(made.answer(one)))
    assert len(said) == 1
    assert "prediction" in said[0]


def _answers(made: Network, batch: dict[str, torch.Tensor]) -> None:
    output, target = made.outputs(batch), batch["target"]
    assert len(output) == len(target)
    assert len(json.loads(json.dumps(made.task.answer(output)))) == len(target)
    facts = made.task.facts(output, target)
    assert len(made.task.per_row(*facts)) == len(target)
    assert set(made.task.metrics(*facts)) == set(made.task.METRICS)
    simple = made.task.baseline(batch, batch)
    assert simple.shape[0] == len(target)
    assert set(made.task.metrics(*made.task.facts(simple, target))) == set(made.task.METRICS)


def _gradients(made: Network, batch: dict[str, torch.Tensor]) -> None:
    for group in made.groups():
        made.architecture.loss(batch, group, made.task).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def _saved_and_loaded(made: Network, other: Network, batch: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1)
    tensors, _ = checkpoint.decode(checkpoint.encode(made.state_dict(), {}))
    assert not torch.equal(made.outputs(batch), other.outputs(batch))
    other.load_state_dict(tensors)
    assert torch.equal(made.outputs(batch), other.outputs(batch))
