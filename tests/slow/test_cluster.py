"""One Ray per clone: its own, locked, on loopback, and gone without a trace when stopped."""

import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from evergreen.core.errors import OutageError, PipelineError
from evergreen.models.work import Work
from evergreen.stages.deploy import serve_api, serve_config
from evergreen.stages.deploy import stage as deploy
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.engines import ray_cluster
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.ledger import Ledger
from evergreen.stages.trials.race import Job, Race

REPOSITORY = Path(__file__).resolve().parents[2]


def python(code, **variables):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def session(pid):
    found = []
    for one in psutil.pids():
        try:
            if os.getsid(one) == pid and psutil.Process(one).status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


IMPORTS = "from pathlib import Path; from evergreen.stages.engines import ray_cluster; "


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A second clone, at a path too long for a socket, whose Ray another process has started."""
    root = tmp_path_factory.mktemp("other") / ("long" * 20)
    root.mkdir()
    done = python(IMPORTS + f"ray_cluster.connect(Path({str(root)!r}))")
    assert done.returncode == 0, done.stderr
    yield root
    python(IMPORTS + f"ray_cluster.stop(Path({str(root)!r}))")


def test_two_clones_do_not_meet_and_stop_ends_one_alone(clone, other):
    mine, theirs = ray_cluster.status(clone), ray_cluster.status(other)
    assert mine["running"]
    assert theirs["running"]
    assert mine["address"] != theirs["address"]
    assert mine["dashboard"] != theirs["dashboard"]
    folder = Path(ray_cluster._read(other)["folder"])
    assert folder.parent.stat().st_mode & 0o077 == 0  # Ray opens its own folder to everybody
    assert session(theirs["pid"])
    done = python(IMPORTS + f"print(ray_cluster.stop(Path({str(other)!r})))")
    assert done.stdout.strip() == "True", done.stderr
    assert not session(theirs["pid"])
    assert not folder.parent.exists()
    assert not ray_cluster.status(other)["running"]
    assert ray_cluster.status(clone)["running"]
    ray_cluster.connect(clone)


def test_nobody_enters_without_the_token(clone):
    address = ray_cluster.status(clone)["dashboard"] + "/api/serve/applications/"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(address, timeout=10)
    assert refused.value.code in (401, 403)
    ask = f"from ray._raylet import GcsClient; GcsClient({ray_cluster.status(clone)['address']!r})"
    token = (clone / ".evergreen" / "ray.token").read_text()
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_TOKEN_PATH": ""}
    assert "AuthenticationError" in python(ask, **wrong).stderr
    assert python(ask, **{**wrong, "RAY_AUTH_TOKEN": token}).returncode == 0


def test_only_loopback_listens_and_no_list_shows_the_token(clone):
    token = (clone / ".evergreen" / "ray.token").read_text()
    assert (clone / ".evergreen" / "ray.token").stat().st_mode & 0o077 == 0
    for pid in session(ray_cluster.status(clone)["pid"]):
        process = psutil.Process(pid)
        assert token not in " ".join(process.cmdline())
        if process.name() in ("gcs_server", "raylet"):
            hosts = {one.laddr.ip for one in process.net_connections("tcp") if one.status == "LISTEN"}
            assert hosts <= {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.mark.parametrize("then", ["connect", "stop"])
def test_a_command_killed_while_ray_starts_leaves_nothing_unknown(tmp_path, then):
    """The next command takes over what was started, and stop ends it all."""
    connect = IMPORTS + f"ray_cluster.connect(Path({str(tmp_path)!r}))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = subprocess.Popen([sys.executable, "-c", connect], env=environment)
    record = tmp_path / ".evergreen" / "ray.json"
    while not record.exists():
        time.sleep(0.01)
    time.sleep(random.uniform(0, 3))
    command.kill()
    command.wait()
    leader = ray_cluster._read(tmp_path)["pid"]
    if then == "connect":
        done = python(connect)
        assert done.returncode == 0, done.stderr
        assert ray_cluster._read(tmp_path)["pid"] == leader
    assert python(IMPORTS + f"print(ray_cluster.stop(Path({str(tmp_path)!r})))").stdout.strip() == "True"
    assert not session(leader)
    assert not record.exists()


def test_a_deploy_after_a_failed_start_of_serve_keeps_its_port(clone, tmp_path, random_model, monkeypatch):
    random_model("digits", tmp_path, 1, "mlp")
    released = {"digits": {"version": "v1.0.0", "path": str(tmp_path)}}
    schema = serve_config.build_schema

    def broken(*arguments):
        made = schema(*arguments)
        made["applications"][0]["import_path"] = "evergreen.stages.deploy.endpoint:nothing"
        return made

    monkeypatch.setattr(serve_config, "build_schema", broken)
    with pytest.raises(PipelineError, match="Serve cannot start"):
        deploy.deploy(clone, released, DeployConfig())
    port = serve_api.served_port(serve_api.get_status(clone))
    assert deploy.status(clone)["pipelines"] == {}
    monkeypatch.setattr(serve_config, "build_schema", schema)
    found = deploy.deploy(clone, released, DeployConfig())
    assert found["url"].endswith(f":{port}")
    assert found["moved_from"] is None
    assert deploy.status(clone)["pipelines"] == {"digits": "v1.0.0"}
    assert deploy.undeploy(clone)


def test_a_worker_that_is_killed_in_a_race_costs_no_contender(clone):
    """Its trial is trained again; what the machine did is no fact about the architecture."""

    class Dying:
        """Stands in for a trial's worker: the first call kills its process."""

        def __init__(self, *_):
            pass

        def get_ready(self):
            pass

        def advance(self, name, seed, steps, seconds, options):
            flag = Path(clone) / f"{name}.died"
            if name == "first" and not flag.exists():
                flag.touch()
                os._exit(1)
            if name == "always":
                os._exit(1)
            score = {"value": 1.0, "loss": 0.0, "epochs": 1, "seconds": 0.0}
            return {"score": score, "trained": name}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evergreen.stages.trials.race.TrialWorker", Dying)
        contenders = [ContenderState(name, 0) for name in ("first", "second", "always")]
        for one in contenders:
            one.work, one.steps = Work(1.0, 1.0, 1.0, 1.0), 1
        ledger = Ledger(Path(clone) / "race.jsonl", {})
        with Race(("", "", ""), ledger, time.monotonic() + 120, lambda **_: None) as race:
            found = race.run([Job(one, 0, 1) for one in contenders], "rung 1")
    answers = {job.contender.name: answer for job, answer in found.items()}
    assert answers["first"]["trained"] == "first"
    assert answers["second"]["trained"] == "second"
    assert "died 3 times" in answers["always"]["reason"]
    assert len(ledger.entries()) == 2  # what a machine did is not remembered


def test_workers_that_do_not_see_the_data_get_no_work_and_blame_nobody(clone):
    ray_cluster.connect(clone)
    contender = ContenderState("mlp", 0)
    ledger = Ledger(Path(clone) / "blind.jsonl", {})
    with (
        pytest.raises(
            OutageError, match=r"no worker got ready \(it cannot read the prepared data: .*storage.* of cluster\.yaml"
        ),
        Race(("/nowhere/at/all", "", ""), ledger, time.monotonic() + 60, lambda **_: None) as race,
    ):
        race.measure([contender])
    assert not contender.failed
    assert not ledger.entries()
