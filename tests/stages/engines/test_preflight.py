"""What would stop a run is found before it costs: on a machine, between machines, for a pipeline."""

import dataclasses
import json
import shutil
import time
from pathlib import Path

import pytest

from evergreen.cli import main
from evergreen.core.diagnosis import Finding
from evergreen.core.errors import OutageError
from evergreen.core.paths import Paths
from evergreen.stages import pipeline as pipelines
from evergreen.stages.engines.placement import count_places, worker_resources
from evergreen.stages.engines.preflight import inspection, node_checks
from evergreen.stages.engines.preflight.cluster_checks import Machine, Seen, check_cluster
from evergreen.stages.engines.preflight.node_checks import Given, check_node, fingerprint, list_versions
from evergreen.stages.engines.preflight.reach import check_token_file, list_machines

SMALL = "task: classification\ncollect: {uri: rows.csv}\npreprocess: {target: y}\n"


@pytest.fixture
def given(tmp_path):
    """A machine on which nothing is wrong."""
    probe, ready = tmp_path / "shared" / ".preflight-1", tmp_path / "shared" / "ready"
    probe.mkdir(parents=True)
    ready.mkdir()
    (probe / "driver").write_text("secret")
    (ready / "rows.parquet").write_bytes(b"rows" * 1000)
    return Given(
        node="m2", driver="m1", versions=list_versions(), storage=str(tmp_path / "shared"), probe=str(probe),
        secret="secret", ready=str(ready), fingerprint=fingerprint(ready), needed_bytes=1, worker_bytes=1,
        is_cluster=False,
    )  # fmt: skip


def refusals(given, **changes):
    found = check_node(dataclasses.asdict(dataclasses.replace(given, **changes)))
    return [f"{one['text']}; {one['fix']}" for one in found if one["state"] == "fail"]


def test_a_fit_machine_is_told_once_a_check(given):
    found = check_node(dataclasses.asdict(given))
    assert {one["what"] for one in found} == {"versions", "storage", "space", "data", "memory"}
    assert {one["state"] for one in found} == {"ok"}
    assert json.loads(json.dumps(found)) == found
    assert sorted(path.name for path in Path(given.probe).iterdir()) == ["driver", "m2"]


def test_other_versions_are_named_with_the_machine(given):
    versions = given.versions | {"torch": "9.9.9", "Python": "3.99.1", "evergreen": "0.0.1"}
    torch, python, evergreen = sorted(refusals(given, versions=versions), key=lambda text: "torch" not in text)
    own = given.versions["torch"]
    assert torch == f"m2: torch {own} is installed, on m1 it is 9.9.9; pip install torch==9.9.9 there"
    assert "3.99" in python + evergreen
    patch = given.versions | {"Python": given.versions["Python"].rpartition(".")[0] + ".99"}
    assert refusals(given, versions=patch) == []


def test_what_is_not_installed_is_named(given, monkeypatch):
    own = {name: "" if name in ("torch", "evergreen") else version for name, version in given.versions.items()}
    monkeypatch.setattr(node_checks, "list_versions", lambda: own)
    torch, evergreen = refusals(given)
    assert torch.startswith("m2: torch is not installed, on m1 it is 2.")
    assert evergreen.endswith("; install the driver's wheel there, too")


def test_storage_that_is_missing_or_another_one_is_named_once(given, tmp_path):
    (told,) = refusals(given, storage=str(tmp_path / "gone"))
    assert told == f"m2: there is no {tmp_path}/gone; mount the folder that m1 has there on m2, too"
    (told,) = refusals(given, probe=str(tmp_path / "elsewhere"))
    assert "is another folder there, what m1 wrote is not in it" in told


def test_rows_that_differ_are_found(given):
    rows = Path(given.ready, "rows.parquet")
    rows.write_bytes(b"Rows" + rows.read_bytes()[4:])
    (told,) = refusals(given)
    assert "are others than on m1; delete that folder" in told
    shutil.rmtree(given.ready)
    (told,) = refusals(given)
    assert "the prepared rows cannot be read" in told


def test_space_and_memory_are_compared_with_what_is_needed(given):
    (told,) = refusals(given, needed_bytes=2**60)
    assert "free; rows and checkpoints may take 1073741824.0 GiB; free some" in told
    (told,) = refusals(given, worker_bytes=2**60)
    assert told.startswith("m2: 1 worker may take")


@pytest.mark.parametrize(
    ("workers", "cpus", "state", "words"),
    [
        (2, (1, 1), "ok", "there are 2 CPUs (m1 1, m2 1)"),
        (4, (1, 1), "warn", "they take turns"),
        (3, (1, 1), "fail", "where 2 fit; add machines, or say train: {workers: 2}"),
    ],
)
def test_workers_without_a_place_are_told(tmp_path, workers, cpus, state, words):
    machines = [Machine(f"m{number}", "", {"CPU": count}) for number, count in enumerate(cpus, 1)]
    (found,) = check_cluster(Seen("m1", machines, workers, "auto", str(tmp_path), "", [], {}))
    assert (found.what, found.state) == ("placement", state)
    assert words in f"{found.text}; {found.fix}"


def test_a_cluster_that_grows_is_warned_and_not_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_KUBERAY_IN_USE", "1")
    (found,) = check_cluster(Seen("m1", [Machine("m1", "", {"CPU": 1})], 8, "cuda", str(tmp_path), "", [], {}))
    assert found.state == "warn"
    assert "KubeRay has to add machines" in found.text


def test_places_are_counted_by_machine():
    each = worker_resources(3, "auto", {"CPU": 2.0})
    assert count_places(each, [{"CPU": 1}, {"CPU": 1}]) == 2
    assert count_places(each, [{"CPU": 2}]) == 3
    assert count_places(worker_resources(2, "auto", {"CPU": 8, "GPU": 1}), [{"CPU": 8, "GPU": 1}]) == 1


def test_clocks_and_files_that_differ_are_told(tmp_path):
    now = time.time()
    clocks = {"m1": (now, now + 1, now + 2), "m2": (now, now + 99, now + 2)}
    (tmp_path / "m1").write_text("secretm1")
    machines = [Machine("m1", "", {"CPU": 2})]
    seen = Seen("m1", machines, 1, "cpu", str(tmp_path), "secret", ["m1"], clocks)
    clock = next(one for one in check_cluster(seen) if one.what == "clock")
    assert clock.text == "m2: its clock differs by 97 s from that of m1"
    assert not [one for one in check_cluster(seen) if one.what == "storage"]


def test_what_another_machine_wrote_has_to_come(tmp_path, monkeypatch):
    monkeypatch.setattr("evergreen.stages.engines.preflight.cluster_checks.PATIENCE_SECONDS", 0.0)
    seen = Seen("m1", [Machine("m1", "", {"CPU": 2})], 1, "cpu", str(tmp_path), "secret", ["m2"], {})
    told = next(one for one in check_cluster(seen) if one.what == "storage")
    assert told.text.startswith("m1: what m2 wrote to")


def test_what_is_right_on_several_machines_is_one_line():
    right, wrong = Finding("versions", "ok", "all"), Finding("versions", "fail", "m2: no")
    merged = inspection._merge([right, Finding("data", "ok", "rows"), wrong, right], 3)
    assert [one.text for one in merged] == ["2 of 3 machines: all", "m2: no", "rows"]


def test_nobody_at_the_address_is_told_at_once():
    with pytest.raises(OutageError, match=r"127.0.0.1:9: no cluster answers \(.*\); start Ray there"):
        list_machines("127.0.0.1:9")


def test_a_token_that_others_may_read_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.touch(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    (found,) = check_token_file()
    assert found.fix == f"chmod 600 {file}"
    file.chmod(0o600)
    assert [*check_token_file()] == []


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "pipelines" / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_machine_is_inspected_without_ray(project, capsys):
    assert main.main(["preflight", "small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["versions", "storage", "space", "memory", "placement"]
    assert not [*(project / ".evergreen").glob(".preflight*")]
    assert not (project / ".evergreen" / "ray.json").exists()


def test_a_cluster_that_does_not_answer_stops_a_stage_before_it_begins(project, capsys):
    (project / "cluster.yaml").write_text(f"address: 127.0.0.1:9\nstorage: {project}/shared\n")
    assert main.main(["preflight", "small"]) == 1
    assert capsys.readouterr().out.startswith("fail cluster     127.0.0.1:9: no cluster answers")
    pipeline = pipelines.read("small", project)
    with pytest.raises(OutageError, match=r"127\.0\.0\.1:9: no cluster answers"):
        pipelines.perform("train", pipeline, Paths(project, "small"))
