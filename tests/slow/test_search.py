"""Select and tune keep their seconds, on a Ray that is up and on one that must start."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.select import stage as select
from evergreen.stages.select.config import SelectConfig
from evergreen.stages.trials.trial import search_defaults
from evergreen.stages.tune import stage as tune
from evergreen.stages.tune.config import TuneConfig

REPOSITORY = Path(__file__).resolve().parents[2]
COLD = """
import sys, time
from pathlib import Path
import evergreen.core.paths, evergreen.stages.select.stage, torch
from evergreen.stages.select.config import SelectConfig
started = time.monotonic()
paths = evergreen.core.paths.Paths(Path(sys.argv[1]), "cancer")
evergreen.stages.select.stage.run(SelectConfig(time_budget_s=13), paths, task="classification")
print(time.monotonic() - started)
"""
STOP = """
import sys
from pathlib import Path
from evergreen.stages.engines import ray_cluster
ray_cluster.stop(Path(sys.argv[1]))
"""


def prepare(root):
    paths = Paths(root, "cancer")
    collect.run(CollectConfig(uri="sklearn:breast_cancer"), paths, task="classification")
    preprocess.run(PreprocessConfig(target="diagnosis"), paths, task="classification")
    return paths


@pytest.fixture(scope="module")
def paths(clone):
    return prepare(clone)


def python(code, root):
    command = [sys.executable, "-c", code, str(root)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=90, check=False)


def test_a_cold_select_keeps_its_seconds(tmp_path):
    prepare(tmp_path)
    try:
        done = python(COLD, tmp_path)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout.split()[-1]) < 13 * 1.15
    finally:
        python(STOP, tmp_path)


def test_a_warm_select_keeps_its_seconds_and_says_why(paths):
    started = time.monotonic()
    choice = select.run(SelectConfig(time_budget_s=8), paths, task="classification")
    assert time.monotonic() - started < 8 * 1.15
    assert choice == read_json(paths.select)
    assert {"linear", "mlp"} <= {entry["architecture"] for entry in choice["leaderboard"]}
    assert choice["why"]


def test_a_search_keeps_its_seconds(paths):
    write_json(paths.select, {"architecture": "mlp"})
    started = time.monotonic()
    choice = tune.run(TuneConfig(time_budget_s=7, trials=1000, seed=3), paths, task="classification")
    assert time.monotonic() - started < 7 * 1.15
    assert choice["why"]


def test_a_search_run_again_repeats_nothing(paths):
    write_json(paths.select, {"architecture": "mlp"})
    params = TuneConfig(time_budget_s=60, trials=3)
    first = tune.run(params, paths, task="classification")
    assert len(first["trials"]) == 3
    assert search_defaults("mlp") in [trial["options"] for trial in first["trials"]]
    started = time.monotonic()
    again = tune.run(params, paths, task="classification")
    assert time.monotonic() - started < 5
    assert again["trials"] == first["trials"]
    assert again["options"] == first["options"]
    more = tune.run(TuneConfig(time_budget_s=60, trials=4), paths, task="classification")
    assert more["trials"][:3] == first["trials"]
    assert len(more["trials"]) == 4
