"""Select and tune follow a plan: no load, no cut and no death of a process changes what they find."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from benchmarks.tables.policy import without_ray
from evergreen.cli import main
from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.select import stage as select
from evergreen.stages.select.config import SelectConfig
from evergreen.stages.train import stage as train
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.trials.trial_table import list_trials
from evergreen.stages.tune import stage as tune
from evergreen.stages.tune.config import TuneConfig
from evergreen.stages.tune.repetition import rerun_trial

REPOSITORY = Path(__file__).resolve().parents[2]
RACE = SelectConfig(effort=0.03, architectures=["mlp", "rbf", "autoencoder"])
SEARCH = TuneConfig(effort=0.1, trials=6, seed=3)
YAML = """
task: classification
collect: {uri: "sklearn:breast_cancer"}
preprocess: {target: diagnosis}
tune: {effort: 0.1, trials: 6, seed: 3}
"""


def prepare(root):
    paths = Paths(root, "cancer")
    collect.run(CollectConfig(uri="sklearn:breast_cancer"), paths, task="classification")
    preprocess.run(PreprocessConfig(target="diagnosis"), paths, task="classification")
    return paths


@pytest.fixture(scope="module")
def paths(clone):
    return prepare(clone)


def found(choice):
    """What was found, without what was timed."""
    timed = {"seconds", "predict_ms", "cuts"}

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key not in timed}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(choice)


@pytest.fixture(scope="module")
def quiet(paths):
    """The race and the search of a machine with nothing else to do."""
    raced = select.run(RACE, paths, task="classification")
    tuned = tune.run(SEARCH, paths, task="classification")
    return raced, tuned


def afresh(paths):
    for ledger in paths.trials.parent.glob("*.jsonl"):
        ledger.unlink()
    shutil.rmtree(paths.run_folder, ignore_errors=True)


@contextlib.contextmanager
def busy():
    """Six processes that do nothing but compute, at the priority of trials."""
    endless = "from evergreen.core.priority import lower_priority; lower_priority()\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", endless], cwd=REPOSITORY) for _ in range(6)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_a_race_compares_all_and_says_why(quiet, paths):
    raced, _ = quiet
    assert raced["why"]
    assert all(entry["score"] is not None for entry in raced["leaderboard"])
    assert {"linear", "mlp", "rbf"} <= {entry["architecture"] for entry in raced["leaderboard"]}
    assert "provisional" not in raced


def test_a_busy_machine_finds_the_same(quiet, paths):
    afresh(paths)
    with busy():
        raced = select.run(RACE, paths, task="classification")
        tuned = tune.run(SEARCH, paths, task="classification")
    assert found(raced) == found(quiet[0])
    assert found(tuned) == found(quiet[1])


def test_a_trial_that_is_done_once_more_has_the_same_score_bit_for_bit(quiet, paths, monkeypatch, capsys):
    rows = list_trials(paths)
    assert [row["number"] for row in rows] == [*range(SEARCH.trials)]
    assert [row["score"] for row in rows] == [row["score"] for row in quiet[1]["trials"]]
    for number in (0, SEARCH.trials - 1):
        again = rerun_trial(SEARCH, paths, number, task="classification")
        assert (again["again"], again["is_same"]) == (rows[number]["score"], True)
    (paths.root / "pipelines" / "cancer.yaml").write_text(YAML)
    monkeypatch.chdir(paths.root)
    assert main.main(["rerun", "cancer", "--trial", "1"]) == 0
    assert capsys.readouterr().out == f"trial 1: log_loss {rows[1]['score']!r} again, bit for bit\n"
    assert main.main(["rerun", "cancer", "--trial", "17"]) == 2
    assert "trials 0 to 5 are recorded, not 17" in capsys.readouterr().err
    ledger = paths.trials.read_text()
    paths.trials.write_text(ledger.replace(repr(rows[1]["score"]), repr(rows[1]["score"] + 1e-15)))
    assert main.main(["rerun", "cancer", "--trial", "1"]) == 1
    assert "in the ledger: another processor" in capsys.readouterr().out
    paths.trials.write_text(ledger)


def test_a_search_takes_a_sampler_a_space_limits_and_repeats(quiet, paths):
    write_json(paths.select, quiet[0] | {"architecture": "mlp"})
    wishes = {"sampler": "random", "scheduler": "asha", "objective": ["parameters min", "latency_ms min"], "repeats": 2}
    wishes["space"] = {"size": {"low": 0.1, "high": 1.0, "log": True}, "dropout": [0.0, 0.2, 0.4], "width": [1, 2]}
    wishes["constraints"] = ["parameters <= 3000"]
    wanted = TuneConfig(effort=0.1, trials=5, seed=1, **wishes)
    groups = set()

    def look(**_):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            groups.update(
                os.getpgid(one.pid) for one in psutil.Process().children() if "trials.search" in " ".join(one.cmdline())
            )

    choice = tune.run(wanted, paths, task="classification", progress=look)
    assert groups  # a Ctrl-C reaches who waits for the search, and that ends it
    assert os.getpgrp() not in groups
    states = [row["state"] for row in choice["trials"]]
    assert "breaks parameters <= 3000" in states
    assert {*choice["trials"][-1]["options"]} == {"size", "dropout"}
    assert "; space: mlp has no width" in choice["why"]
    assert "the mean of 2 seeds decided" in choice["why"]
    assert choice["timing_dependent"] in choice["why"]
    assert all(row["counts"]["latency_ms"] > 0 for row in choice["trials"])
    repeated = {row["number"]: row for row in choice["trials"] if "scores" in row}
    assert choice["trial"] in repeated
    assert choice["trial"] in choice["front"]
    assert repeated[choice["trial"]]["counts"]["parameters"] <= 3000
    written = paths.trials.read_bytes()
    assert found(tune.run(wanted, paths, task="classification")) == found(choice)
    assert paths.trials.read_bytes() == written
    write_json(paths.select, quiet[0])


def test_a_race_that_is_cut_off_goes_on_and_finds_the_same(quiet, paths, monkeypatch):
    afresh(paths)
    with pytest.raises(PipelineError, match="is no choice"):
        select.run(RACE.model_copy(update={"time_budget_s": 0.6}), paths, task="classification")
    late: list[str] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + (1e6 if late else 0))
    monkeypatch.setattr("evergreen.stages.trials.race.time", clock)

    def see_finals(doing="", **_):
        late.extend([doing] if "finals" in doing and " 0 of" not in doing else [])

    cut = select.run(RACE, paths, task="classification", progress=see_finals)
    assert late
    monkeypatch.undo()
    assert "to go" in cut["provisional"]
    assert "provisional" in cut["why"]
    assert cut["cuts"] == 1
    whole = select.run(RACE, paths, task="classification")
    assert found(whole) == found(quiet[0])


def test_a_search_that_is_cut_off_goes_on_and_repeats_nothing(quiet, paths):
    write_json(paths.select, quiet[0])
    afresh(paths)
    few = SEARCH.model_copy(update={"trials": 3})
    assert len(tune.run(few, paths, task="classification")["trials"]) == 3
    first = paths.trials.read_text().splitlines()
    cut = tune.run(SEARCH.model_copy(update={"time_budget_s": 2.0}), paths, task="classification")
    assert "provisional" in cut
    lines = paths.trials.read_text().splitlines()
    whole = tune.run(SEARCH, paths, task="classification")
    assert lines[:3] == first  # none of the three is done again
    assert paths.trials.read_text().splitlines()[: len(lines)] == lines
    assert found(whole) == found(quiet[1])


def test_the_tables_of_the_benchmarks_are_raced_as_here(quiet, paths):
    afresh(paths)
    with without_ray():
        assert found(select.run(RACE, paths, task="classification")) == found(quiet[0])


def test_train_reads_the_folds_that_select_has_trained(quiet, paths):
    afresh(paths)
    with without_ray():
        select.run(RACE, paths, task="classification")
        tune.run(TuneConfig(), paths, task="classification")
        before = {file: file.stat().st_mtime_ns for file in paths.run_folder.glob("folds-*/*")}
        train.run(TrainConfig(), paths, task="classification")
        version, files = folder_version(paths.candidate), {*paths.run_folder.glob("folds-*/*")}
        key = read_json(paths.tune)["fold_key"]
        assert {file.parent.name for file in files - before.keys()} <= {f"folds-{key}"}
        assert {file: file.stat().st_mtime_ns for file in before} == before
        assert any(file.parent.name == f"folds-{key}" for file in before)
        shutil.rmtree(paths.run_folder)
        train.run(TrainConfig(), paths, task="classification")
    assert folder_version(paths.candidate) == version
    assert len([*paths.run_folder.glob("folds-*/*")]) == 5


def test_a_worker_that_dies_changes_nothing(quiet, paths):
    afresh(paths)
    done, killed = threading.Event(), []

    def kill() -> None:
        while not done.wait(0.2):
            for worker in psutil.process_iter(["cmdline"]):
                if "ray::TrialWorker.advance" in " ".join(worker.info["cmdline"] or []) and ours(worker, paths.root):
                    worker.kill()
                    killed.append(worker.pid)
                    return

    killer = threading.Thread(target=kill)
    killer.start()
    raced = select.run(RACE, paths, task="classification")
    done.set()
    killer.join()
    assert killed
    assert found(raced) == found(quiet[0])


def ours(worker, root) -> bool:
    """Tell whether a process of Ray belongs to the cluster of this project."""
    return str(root) in " ".join(one for parent in worker.parents() for one in parent.cmdline())
