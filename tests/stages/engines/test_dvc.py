"""DVC's own commands, and what the tables of its extension read, in a clone that Evergreen recorded."""

import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evergreen.core.paths import Paths
from evergreen.stages.engines import versions
from evergreen.stages.pipeline import read
from tests.stages.engines.small_clone import FILE, PERSON, commit_all_but_lock, dvc, running, sh

pytestmark = pytest.mark.slow
SETTING = "train.epochs"
METRIC = "test.accuracy.value"


@pytest.fixture(scope="module")
def clone(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded and committed clone with a remote and a second pipeline that never ran."""
    root = tmp_path_factory.mktemp("dvc") / "clone"
    shutil.copytree(pattern, root, symlinks=True)
    (root / "pipelines" / "beta.yaml").write_text(FILE)
    dvc(root, "remote", "add", "-q", "-d", "store", str(root.parent / "remote"))
    commit_all_but_lock(root)
    sh(root, "git", "add", "dvc.lock", ".dvc/config")
    sh(root, "git", *PERSON, "commit", "-qm", "recorded")
    dvc(root, "push", "-q")
    return root


@pytest.fixture(scope="module")
def experiment(clone: Path) -> tuple[Path, str]:
    """Another clone of the same, after an experiment with other epochs; and what DVC said of it."""
    root = clone.parent / "experiment"
    shutil.copytree(clone, root, symlinks=True)
    sh(root, "git", "config", "user.name", "Ada")
    sh(root, "git", "config", "user.email", "ada@example.org")
    return root, dvc(root, "exp", "run", "-S", f"pipelines/alpha.yaml:{SETTING}=7", "validate@alpha")


def test_a_second_clone_pulls_though_a_pipeline_never_ran(clone: Path, tmp_path: Path) -> None:
    sh(tmp_path, "git", "clone", "-q", str(clone), "second")
    root = tmp_path / "second"
    dvc(root, "pull", "-q")  # an exit status other than 0 raises
    reasons = versions.stale_reasons(root, [read("alpha", root), read("beta", root)])
    assert reasons["alpha"] == {}
    assert set(reasons["beta"].values()) == {"never run"}


def test_an_experiment_runs_what_its_setting_decides(experiment: tuple[Path, str]) -> None:
    root, said = experiment
    assert running(said) == ["versions@alpha", "train@alpha", "validate@alpha"]
    reasons = versions.stale_reasons(root, [read("alpha", root)])["alpha"]
    assert set(reasons) == {"report"}  # which nobody asked for


def test_the_table_of_experiments_has_settings_and_scores_as_columns(experiment: tuple[Path, str]) -> None:
    root, _ = experiment
    rows = list(csv.DictReader(dvc(root, "exp", "show", "--csv").splitlines()))
    columns = list(rows[0])
    assert {SETTING, METRIC} <= set(columns)
    files = [column for column in columns if "/" in column and ":" not in column]
    assert all("/store/alpha/" in file for file in files), "no source file is a column"
    assert len([file for file in files if "/versions/" in file]) <= 7, "code is one column a stage"
    assert {(row[SETTING], row[METRIC]) for row in rows} == {("3", "0.3"), ("7", "0.7")}


def test_the_extension_reads_its_tables(experiment: tuple[Path, str]) -> None:
    root, _ = experiment
    shown = json.loads(dvc(root, "exp", "show", "--json"))
    assert shown[0]["data"]["params"]["pipelines/alpha.yaml"]["data"]["train"]["epochs"] == 7
    assert "train@alpha" in dvc(root, "stage", "list", "--name-only")
    assert "not_in_cache" not in json.loads(dvc(root, "data", "status", "--json"))


def test_settings_and_scores_are_compared(experiment: tuple[Path, str]) -> None:
    root, _ = experiment
    changed = json.loads(dvc(root, "params", "diff", "--json"))
    assert changed == {"pipelines/alpha.yaml": {"train.epochs": {"old": 3, "new": 7, "diff": 4}}}
    metrics = json.loads(dvc(root, "metrics", "show", "--json"))[""]["data"]
    assert metrics["models/store/alpha/evaluation/metrics.json"]["data"]["test"]["accuracy"]["value"] == 0.7


def test_plots_are_drawn(experiment: tuple[Path, str]) -> None:
    root, _ = experiment
    page = dvc(root, "plots", "show").strip().removeprefix("file://")
    assert "curve.csv" in Path(page).read_text()


def test_no_progress_bar_of_dvcs_shows_on_a_terminal(clone: Path) -> None:
    paths = Paths(clone, "alpha")
    (paths.candidate / "model.json").write_text("other")
    script = (
        "import pathlib, sys\n"
        "from evergreen.core.paths import Paths\n"
        "from evergreen.stages.engines import dvc_cache, versions\n"
        "from evergreen.stages.pipeline import read\n"
        "paths = Paths(pathlib.Path.cwd(), 'alpha')\n"
        "versions.commit(paths, 'train')\n"
        "versions.stale_reasons(paths.root, [read('alpha', paths.root)])\n"
        "dvc_cache.push(paths)\n"
    )
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=clone, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.set_blocking(ours, False)
    try:
        said = os.read(ours, 1 << 16).decode()
    except (BlockingIOError, OSError):
        said = ""
    os.close(ours)
    assert (done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", said)) == (0, "")
