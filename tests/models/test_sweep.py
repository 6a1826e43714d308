"""Every architecture with every task on every kind that it accepts: a new file in architectures/ is tested as it is."""

from __future__ import annotations

import pytest

from evergreen.models.registry import build, buildable, find_architecture, list_architectures, list_tasks
from evergreen.stages.checking import network_checks
from evergreen.stages.checking.network_checks import SETS
from evergreen.stages.checking.sample_inputs import INPUTS, TARGETS

CASES = list(network_checks.cases(list_architectures(), list_tasks()))
FIRST = {  # what is known to be quick with some of them
    **dict.fromkeys(("vit", "resnet", "unet", "capsule", "inception"), ((1e-2, 6),)),
    "deconvolution": ((2e-2, 10),),
    "efficientnet": ((5e-3, 4),),
    "decoder": ((2e-2, 10),),
}


def each(cases, slow=()):
    return pytest.mark.parametrize(
        "case",
        [pytest.param(case, marks=[pytest.mark.slow] * (case in slow)) for case in cases],
        ids=lambda case: "-".join((case.name, *case.kinds, case.task, case.target)),
    )


def combinations():
    """The cases whose architecture has met their kinds, and their task, in cases before them."""
    met = set()
    for case in CASES:
        pairs = {(case.name, case.kinds), (case.name, case.task)}
        if pairs <= met:
            yield case
        met |= pairs


@pytest.fixture(autouse=True, scope="module")
def libraries():
    """What is loaded once is no test's time."""
    for name, kind in (("gat", "graph"), ("encoder", "text")):
        build(name, "classification", {kind: INPUTS[kind]}, TARGETS["category"])


@each(CASES, slow=list(combinations()))
def test_every_pair(case):
    network_checks.check_pair(case)


@each(CASES, slow=list(combinations()))
def test_overfits_eight_rows(case):
    network_checks.check_learns(case, FIRST.get(case.name, ()))


@each(list(filter(network_checks.is_trimmed, CASES)))
def test_padding_that_all_rows_have_changes_no_answer(case):
    network_checks.check_padding(case)


@each({case.name: case for case in CASES[::-1]}.values())
def test_size_is_a_dial(case):
    network_checks.check_size(case)


@pytest.mark.parametrize("name", list_architectures())
def test_space_and_recipe_name_what_exists(name):
    network_checks.check_declarations(name)


def test_the_anchor_is_first(inputs):
    assert buildable(inputs)[0] == "linear"


def test_no_kind_is_left_out():
    taken = frozenset.union(*(find_architecture(name).ACCEPTS for name in list_architectures()))
    assert taken - {"*", "tokens"} == {kind for kinds in SETS for kind in kinds}  # tokens: tests/models/test_pretrained
