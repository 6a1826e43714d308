"""Every architecture with every task on every kind that it accepts: a new file in architectures/ is tested as it is."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch

from models import checkpoint
from models.base import Network, accepting, architecture, architectures, task, tasks
from models.feed import TensorFeed
from models.loop import Loop, Recipe

KINDS = ("category", "image", "number", "series")  # those that conftest makes
MIXED = ("number", "category")


def takes(name: str, kinds: tuple[str, ...]) -> bool:
    accepts = architecture(name).ACCEPTS
    return "*" in accepts or set(kinds) <= accepts


CASES = [
    (name, kinds, job)
    for name in architectures()
    for kinds in [*((kind,) for kind in KINDS), MIXED]
    if takes(name, kinds)
    for job in tasks()
]


@pytest.mark.parametrize(("name", "kinds", "job"), CASES)
def test_every_pair(name, kinds, job, network, make):
    made = network(name, job, kinds, size=0.5)
    batch = make(kinds, task(job).TARGET, 8)
    _shapes(made, batch)
    _gradients(made, batch)
    _saved_and_loaded(made, network(name, job, kinds, size=0.5), batch)


@pytest.mark.parametrize(("name", "kinds", "job"), CASES)
def test_overfits_eight_rows(name, kinds, job, network, make):
    made = network(name, job, kinds, size=0.25)
    batch = make(kinds, task(job).TARGET, 8)
    recipe = Recipe(epochs=50, batch_size=8, learning_rate=2e-2, weight_decay=0, schedule="constant", clip=1.0)
    loop = Loop(made, TensorFeed(batch, 8), batch, recipe)
    with torch.no_grad():
        before = float(made.task.loss(made.outputs(batch), batch["target"]))
    loop.run()
    assert min(record["validation_loss"] for record in loop.history) < 0.4 * before


@pytest.mark.parametrize("name", architectures())
def test_size_is_a_dial(name, network):
    kind = next(kind for kind in KINDS if takes(name, (kind,)))
    small, large = (
        sum(p.numel() for p in network(name, "classification", (kind,), size=size).parameters()) for size in (0.5, 2.0)
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


def _shapes(made: Network, batch: dict[str, torch.Tensor]) -> None:
    features = made.architecture(batch)
    assert features.shape == (len(batch["target"]), made.architecture.features)
    assert made.task(features).shape[0] == len(batch["target"])
    assert len(made.task.answer(made.outputs(batch))) == len(batch["target"])


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
