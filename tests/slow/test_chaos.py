"""Four cells of `make chaos`: a run is struck in one stage, and the next one has to end with the same weights."""

import pytest

from benchmarks.chaos.cells import Cell, all_cells
from benchmarks.chaos.project import ChaosProject
from benchmarks.chaos.run_cell import list_orphans, run_cell

CELLS = [
    Cell("preprocess", "Prefect"),
    Cell("collect", "SIGINT twice"),
    Cell("train", "GCS"),
    Cell("release", "driver"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = ChaosProject(tmp_path_factory.mktemp("chaos"))
    project.prepare()
    yield project
    project.stop()
    assert list_orphans(project) == []


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_next_run_ends_with_the_same_weights(project, cell):
    assert cell in all_cells()
    assert run_cell(project, cell, seed=0) == []
