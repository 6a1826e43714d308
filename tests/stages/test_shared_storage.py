"""What the machines of a cluster share lies at an address of objects, of a server that fails one request in five."""

import dataclasses
from pathlib import Path

import pytest

from evergreen.cli.commands.upkeep.du import du
from evergreen.core.errors import DataError
from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.data.object_store import ObjectStore
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.sources import _remote as remote
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.engines import cluster_file, shared_storage, storage_budget
from evergreen.stages.engines.shared_storage import Mirror, fetch_folder, share_folder
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.train import worker
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.train.plan import plan_run
from evergreen.stages.trials.out_of_fold import load, train_fold
from tests import s3_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("boto3")
    pytest.importorskip("moto")
    address, asked, stop = s3_server.start("127.0.0.1", 0, "shop", every=20)
    yield address, asked
    stop()


@pytest.fixture
def storage(server, tmp_path, monkeypatch):
    """An address in the bucket for this test, which this machine and another one reach."""
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(shared_storage, "MIRROR_SECONDS", 0.05)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in s3_server.KEYS.items():
        monkeypatch.setenv(name.upper(), value)
    return f"s3://shop/{tmp_path.name}?endpoint={server[0]}"


@pytest.fixture
def paths(tmp_path, storage):
    paths = Paths(tmp_path / "project", "wine")
    paths.root.mkdir()
    collect.run(CollectConfig(uri="sklearn:wine"), paths, task="classification")
    preprocess.run(PreprocessConfig(target="cultivar"), paths, task="classification")
    write_json(paths.select, {"architecture": "linear"})
    (paths.root / "cluster.yaml").write_text(f"storage: '{storage}'\n")
    return paths


def test_a_folder_is_stored_once_and_fetched_once(paths, server):
    version, asked = folder_version(paths.ready), server[1]
    address = share_folder(paths.root, paths.ready, "ready", "wine", version)
    assert address.startswith("s3://shop/")
    fetched = fetch_folder(address)
    assert fetched != paths.ready
    assert folder_version(fetched) == version
    asked.clear()
    assert share_folder(paths.root, paths.ready, "ready", "wine", version) == address
    assert fetch_folder(address) == fetched
    assert {one for one in asked if "/ready/" in one.replace("/.used/ready/", "")} == {asked[-1]}


def test_a_folder_that_is_half_stored_is_stored_again(paths, storage):
    address = share_folder(paths.root, paths.ready, "ready", "wine", "v")
    ObjectStore(address).remove(shared_storage.WHOLE)
    ObjectStore(address).remove("spec.json")
    share_folder(paths.root, paths.ready, "ready", "wine", "v")
    assert folder_version(fetch_folder(address)) == folder_version(paths.ready)


def test_a_mirror_follows_what_is_written_and_removed(tmp_path, storage):
    here, there = Mirror(tmp_path / "here", storage), Mirror(tmp_path / "there", storage)
    (tmp_path / "here").mkdir()
    with here.keep():
        for number in range(4):
            (tmp_path / "here" / f"step-{number}").write_bytes(b"x" * (number + 1))
        (tmp_path / "here" / "step-0").unlink()
        (tmp_path / "here" / ".lock").touch()
    (tmp_path / "here" / "step-1").unlink()
    here.push()
    there.pull()
    assert sorted(one.name for one in (tmp_path / "there").iterdir()) == ["step-2", "step-3"]


def test_training_goes_on_on_another_machine_with_the_same_bytes(paths, tmp_path, monkeypatch):
    config = TrainConfig(epochs=4, batch_size=16, train_on_validation=False)
    plan = plan_run(config, paths, "classification")
    alone = dataclasses.replace(plan, folder=str(tmp_path / "alone"))
    worker.build_trainer(alone).run()

    for machine, epochs in (("one", 2), ("other", None)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        there = plan.on_this_machine()
        assert there.ready.startswith(str(tmp_path / machine))
        assert there.key() == plan.key()
        with there.mirror(folder := tmp_path / machine / plan.key()).keep():
            trainer = worker.build_trainer(dataclasses.replace(there, folder=str(folder)))
            assert trainer.epoch == (2 if machine == "other" else 0)
            trainer.run(epochs)
    plan.mirror(Path(plan.folder)).pull()
    found, expected = worker.load_finished(plan), worker.load_finished(alone)
    assert found.history[-1]["train_loss"] == expected.history[-1]["train_loss"]
    assert all(found.weights[name].equal(tensor) for name, tensor in expected.weights.items())


def test_what_a_fold_answers_comes_back(paths):
    plan = plan_run(TrainConfig(epochs=1, options={}), paths, "classification")
    plan = dataclasses.replace(plan, folds=2, settles_epochs=False)
    for number in range(2):
        assert load(plan) is None
        assert train_fold(plan.on_this_machine(), number)
    assert sum(load(plan).sizes) == len(load(plan).target)


@pytest.mark.parametrize(
    ("storage", "problem"),
    [("s3://nowhere/x", "there is no such file or folder"), ("https://host/x", "nothing can be stored there")],
)
def test_storage_that_takes_nothing_is_told_in_a_line(paths, server, storage, problem):
    (paths.root / "cluster.yaml").write_text(f"storage: '{storage}?endpoint={server[0]}'\n")
    with pytest.raises(DataError, match=problem) as told:
        share_folder(paths.root, paths.ready, "ready", "wine", "v")
    assert "\n" not in str(told.value)


def test_a_secret_in_storage_is_refused_and_not_shown(tmp_path):
    (tmp_path / "cluster.yaml").write_text("address: h:1\nstorage: s3://ada:gEhe1m-Wort@bucket/x\n")
    with pytest.raises(ValueError, match=r"cluster.yaml:2: .*the address holds a") as told:
        cluster_file.read(tmp_path)
    assert "gEhe1m" not in str(told.value)


@pytest.mark.parametrize("kind", ["folder", "objects"])
def test_above_the_budget_the_longest_unused_go_and_what_is_in_use_stays(paths, storage, tmp_path, monkeypatch, kind):
    place = storage if kind == "objects" else str(tmp_path / "shared")
    rows = sum(one.stat().st_size for one in paths.ready.rglob("*") if one.is_file())
    (paths.root / "cluster.yaml").write_text(f"storage: '{place}'\nstorage_gb: {2.5 * rows / 1e9:.9f}\n")
    for version in "abcd":
        monkeypatch.setattr(storage_budget, "_held", {place: {"ready/wine/a"}})  # a running stage still uses it
        share_folder(paths.root, paths.ready, "ready", "wine", version)
        if version != "a":  # whose process has ended
            ObjectStore(place).remove(f".used/ready/wine/{version}/mark")
    assert sorted(one.name for one in storage_budget.list_places(paths.root)) == ["ready/wine/a", "ready/wine/d"]
    monkeypatch.chdir(paths.root)
    (paths.root / "pipelines").mkdir()
    (paths.root / "dvc.yaml").touch()
    ObjectStore(place).put_bytes("runs/wine/old/step", b"x")
    shared_storage.run_places(paths, "a")
    assert all(one.is_held for one in storage_budget.list_places(paths.root) if one.name.startswith("runs/"))
    shown = {one["path"]: one["what"] for one in du().value["places"]}
    assert shown["storage/ready/wine/a"] == "prepared rows, for the machines of the cluster, in use"


def test_a_machines_copies_fit_their_share_of_its_disk_but_for_those_in_use(paths, storage, monkeypatch):
    monkeypatch.setattr(shared_storage, "CACHE_SHARE", 0)
    folders = [fetch_folder(share_folder(paths.root, paths.ready, "ready", "wine", version)) for version in "ab"]
    assert all(folder.is_dir() for folder in folders)
    shared_storage._used.pop(folders[0]).close()  # its process has ended
    fetch_folder(share_folder(paths.root, paths.ready, "ready", "wine", "b"))
    assert [folder.is_dir() for folder in folders] == [False, True]
