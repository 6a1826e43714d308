"""Tiny pipelines give the rows, batches, weights and scores that are written in hashes.json."""

import copy

import pytest

from tests.golden import results
from tests.golden.product import Run
from tests.golden.verdict import problem

WRITTEN = results.read()


@pytest.mark.slow
@pytest.mark.parametrize("name", results.names())
def test_a_run_makes_what_is_written(name, tmp_path):
    run = Run(results.prepared(tmp_path), name)
    if run.lacking:
        pytest.skip(f"{run.lacking} is not installed")
    told = problem(WRITTEN["pipelines"][name], results.measured(run), same_bytes=results.bound(WRITTEN))
    assert not told, f"{name}: {told}"


def test_every_pipeline_is_written():
    assert sorted(WRITTEN["pipelines"]) == results.names()


def test_sources_are_small():
    assert sum(path.stat().st_size for path in (results.HERE / "sources").rglob("*") if path.is_file()) <= 100_000


@pytest.fixture
def pair():
    """A written result, and the same with versions of its parts."""
    written = copy.deepcopy(WRITTEN["pipelines"]["table_classes"])
    versions = {f"{group} {name}": 1 for group, names in written["parts"].items() for name in names}
    return {**written, "versions": versions}, {**copy.deepcopy(written), "versions": dict(versions)}


@pytest.mark.parametrize(
    ("result", "change"),
    [
        ("raw", {"contents": "other"}),
        ("ready", {"bytes": "other"}),
        ("recipe", {"epochs": 9}),
        ("scores", {"accuracy": 0.5}),
        ("weights", {"architecture.gone": [1, 0.0, 0.0]}),
    ],
)
def test_a_change_without_a_version_is_told(pair, result, change):
    written, found = pair
    assert not problem(written, found, same_bytes=True)
    found[result] |= change
    assert f"{result}: " in problem(written, found, same_bytes=True)


def test_a_version_explains_what_lies_behind_it_alone(pair):
    written, found = pair
    found["batches"] = "other"
    found["versions"]["architecture mlp"] = 2
    assert "batches: others" in problem(written, found, same_bytes=True)
    found["versions"]["kind number"] = 2
    assert "architecture mlp, kind number; write the results again" in problem(written, found, same_bytes=True)


def test_what_is_new_in_a_recipe_changes_nothing(pair):
    written, found = pair
    found["recipe"]["later"] = 0.0
    assert not problem(written, found, same_bytes=True)


def test_bytes_count_only_where_the_same_packages_wrote_them(pair):
    written, found = pair
    found["raw"]["bytes"] = "other"
    assert problem(written, found, same_bytes=True)
    assert not problem(written, found, same_bytes=False)
