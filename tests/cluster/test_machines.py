"""Stages run across machines, of which one is switched off or cut off, and end as they do on one."""

import json
import shutil
import sys

import pytest

from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from tests.cluster.machines import EVERGREEN, PIPELINE, REPOSITORY, Machines, lacking, made, wait_for

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(bool(why := lacking()), reason=f"several machines on one: {why}"),
]


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


def test_machines_that_go_and_come_in_a_search_change_no_choice(alone, cluster):
    paths = Paths(cluster.project, "small")
    paths.select.parent.mkdir(parents=True)
    shutil.copyfile(alone.select, paths.select)
    search = cluster.start(1, [*EVERGREEN, "stage", "tune", "small"])
    wait_for(lambda: paths.trials.is_file() and paths.trials.stat().st_size)
    cluster.cut(2, seconds=3)
    cluster.add(3)
    cluster.kill(2)
    printed = search.communicate(timeout=300)[0]
    assert search.returncode == 0, printed
    assert read_json(paths.tune)["options"] == read_json(alone.tune)["options"]
    assert scores(paths) == scores(alone)


def test_two_searches_at_once_each_find_what_they_find_alone(alone, cluster):
    both = [Paths(cluster.project, name) for name in ("small", "second")]
    shutil.copyfile(both[0].pipeline, both[1].pipeline)
    shutil.copytree(both[0].ready, both[1].ready)
    for paths in both:
        paths.select.parent.mkdir(parents=True)
        shutil.copyfile(alone.select, paths.select)
    searches = [cluster.start(1, [*EVERGREEN, "stage", "tune", paths.name]) for paths in both]
    for search, paths in zip(searches, both, strict=True):
        printed = search.communicate(timeout=400)[0]
        assert search.returncode == 0, printed
        assert scores(paths) == scores(alone)


def scores(paths):
    return [(one["options"], one["score"]) for one in read_json(paths.tune)["trials"]]
