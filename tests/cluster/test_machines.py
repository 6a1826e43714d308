"""Stages run across machines, of which one is switched off or cut off, and end as they do on one."""

import json
import shutil
import subprocess
import sys
import time

import pytest

from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from tests.cluster.machines import EVERGREEN, PIPELINE, REPOSITORY, Machines, lacking, run_stage

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(bool(why := lacking()), reason=f"several machines on one: {why}"),
]


def made(paths: Paths) -> tuple[dict, dict, bytes]:
    """Return what was chosen and learned, without what a clock measured."""
    select, tune = read_json(paths.select), read_json(paths.tune)
    board = [(one["architecture"], one["score"]) for one in select["leaderboard"]]
    trials = [(one["options"], one["score"]) for one in tune["trials"]]
    weights = next(paths.candidate.glob("*.safetensors")).read_bytes()
    return (select["architecture"], sorted(board)), (tune["options"], trials), weights


@pytest.fixture(scope="module")
def alone(prepared, tmp_path_factory):
    """A project whose stages have run on one machine."""
    root = tmp_path_factory.mktemp("alone") / "project"
    shutil.copytree(prepared, root)
    for name in ("select", "tune", "train"):
        run_stage(root, name)
    yield Paths(root, "small")
    subprocess.run([*EVERGREEN, "stop"], cwd=root, check=True, capture_output=True)


@pytest.fixture
def cluster(prepared, tmp_path):
    """Two machines, of which the first has a project that is prepared."""
    project = tmp_path / "project"
    shutil.copytree(prepared, project)
    machines = Machines(tmp_path / "machines", project)
    (project / "cluster.yaml").write_text(f"address: {machines.address}\nstorage: {machines.shared}\n")
    try:
        machines.add(1)
        machines.add(2)
        yield machines
    finally:
        machines.remove()


def wait_for(happened, timeout_s: float = 120) -> None:
    """Wait until something is the case."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.short
def test_the_workers_of_two_machines_meet_whatever_their_hosts_files_say(cluster):
    printed = cluster.run(1, *EVERGREEN, "preflight", "small")
    assert "2 workers (1 on m1, 1 on m2) meet by gloo through eth0; to add up" in printed
    assert "ok   storage     2 of 2 machines" in printed


def test_two_machines_choose_and_learn_what_one_does(alone, cluster):
    for name in ("select", "tune"):
        cluster.run(1, *EVERGREEN, "stage", name, "small")
    printed = cluster.run(1, *EVERGREEN, "preflight", "small")
    assert "time        a step takes" in printed
    cluster.run(1, *EVERGREEN, "stage", "train", "small")
    assert made(Paths(cluster.project, "small")) == made(alone)


def test_what_no_folder_shares_goes_through_a_store_that_fails_one_request_in_five(alone, cluster):
    server = [sys.executable, str(REPOSITORY / "tests" / "s3_server.py"), f"{cluster.network}.1", "9000", "shop", "5"]
    store = cluster.start(1, server)
    endpoint = store.stdout.readline().strip()
    place = f"address: {cluster.address}\nstorage: s3://shop/evergreen?endpoint={endpoint}\n"
    (cluster.project / "cluster.yaml").write_text(place)
    for name in ("select", "tune", "train"):
        print(cluster.run(1, *EVERGREEN, "stage", name, "small"))
    assert made(Paths(cluster.project, "small")) == made(alone)
    assert not [*cluster.shared.iterdir()]


def test_a_range_of_workers_goes_on_with_those_that_are_left(cluster):
    text = PIPELINE.replace("epochs: 6, workers: 2", "epochs: 400, workers: 1..2, checkpoint_seconds: 1")
    (cluster.project / "pipelines" / "small.yaml").write_text(
        text.replace("train: {", "train: {train_on_validation: false, ")
    )
    paths = Paths(cluster.project, "small")
    write_json(paths.select, {"architecture": "mlp", "options": {}})
    training = cluster.start(1, [*EVERGREEN, "stage", "train", "small"])
    runs = cluster.shared / "runs" / "small"
    wait_for(lambda: any(runs.glob("*/step-*.safetensors")))
    cluster.kill(2)
    printed = training.communicate(timeout=300)[0]
    assert training.returncode == 0, printed
    told = [json.loads(line) for line in next(runs.glob("*/progress.jsonl")).read_text().splitlines()]
    epochs = [one["epoch"] for one in told if "train_loss" in one]
    assert epochs[-1] == 400
    assert epochs.count(1) == 1  # it did not begin anew


def test_a_machine_that_is_switched_off_in_the_race_changes_no_choice(alone, cluster):
    paths = Paths(cluster.project, "small")
    race = cluster.start(1, [*EVERGREEN, "stage", "select", "small"])
    wait_for(lambda: paths.races.is_file() and paths.races.stat().st_size)
    cluster.kill(2)
    printed = race.communicate(timeout=300)[0]
    assert race.returncode == 0, printed
    found, expected = read_json(paths.select), read_json(alone.select)
    assert found["architecture"] == expected["architecture"]
    assert sorted((one["architecture"], one["score"]) for one in found["leaderboard"]) == sorted(
        (one["architecture"], one["score"]) for one in expected["leaderboard"]
    )
