"""One project for all tests across machines, whose rows are prepared."""

import shutil
import subprocess

import pytest

from evergreen.core.paths import Paths
from tests.cluster.machines import EVERGREEN, PIPELINE, run_stage


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The root of a project with prepared rows; it is copied, never changed."""
    root = tmp_path_factory.mktemp("prepared") / "project"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([*EVERGREEN, "init"], cwd=root, check=True, capture_output=True)
    (root / "pipelines" / "small.yaml").write_text(PIPELINE)
    for name in ("collect", "preprocess"):
        run_stage(root, name)
    return root


@pytest.fixture(scope="session")
def alone(prepared, tmp_path_factory):
    """A project whose stages have run on one machine."""
    root = tmp_path_factory.mktemp("alone") / "project"
    shutil.copytree(prepared, root)
    for name in ("select", "tune", "train"):
        run_stage(root, name)
    yield Paths(root, "small")
    subprocess.run([*EVERGREEN, "stop"], cwd=root, check=True, capture_output=True)
