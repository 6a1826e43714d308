"""Every socket is tried without its secret: it refuses, or docs/security.md says what it tells."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from evergreen.flows.server import Server
from evergreen.stages.deploy import stage as deploy
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.engines import ray_node

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "security.md"
MARK = Path("/tmp/probe")  # what a socket makes that runs what it is sent
TRAINING = """
import pathlib, sys
from evergreen.stages.engines import ray_cluster
root = pathlib.Path(sys.argv[1])
ray_cluster.connect(root)
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from evergreen.stages.engines.torch_group import choose_torch_config
def train(config):
    import pathlib, time, torch
    torch.distributed.all_reduce(torch.ones(1))
    folder = pathlib.Path(config["folder"])
    (folder / str(torch.distributed.get_rank())).touch()
    while not (folder / "end").exists():
        time.sleep(0.1)
TorchTrainer(
    train, train_loop_config={"folder": sys.argv[2]}, torch_config=choose_torch_config(root, "gloo"),
    scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
    run_config=RunConfig(storage_path=sys.argv[2]),
).fit()
"""
DRIVER = """
import pathlib, sys
from evergreen.flows.server import Server
from evergreen.stages.engines import ray_cluster
root = pathlib.Path(sys.argv[1])
Server(root).start()
ray_cluster.connect(root)
Server(root).wait()
print("connected", flush=True)
sys.stdin.read()
"""
TELLS = {  # what an answer without the secret tells, in the page's words → where it comes from and how it begins
    "health": r"\S*health\S* |/-/routes |/api/authentication_mode ",
    "metrics": r"\S+ # (HELP|TYPE) ",
    "endpoint": r'\S+ (\{"(pipelines|name|version|openapi)":|<!doctype html><html lang=en>)',
    "pages": r"\S+ <!doctype html>",
}


@pytest.fixture(scope="module")
def everything(clone, tmp_path_factory, random_model):
    """The clone with its cluster, Serve, HAProxy, endpoint and Prefect's server up, and a command that is connected."""
    folder = tmp_path_factory.mktemp("digits")
    random_model("digits", folder, 1)
    deploy.deploy(clone, {"digits": {"version": "v1.0.0", "path": str(folder)}}, DeployConfig())
    command = [sys.executable, "-c", DRIVER, str(clone)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout.readline() == "connected\n"
        yield clone, driver.pid
        driver.stdin.close()
    Server(clone).stop()
    deploy.undeploy(clone)


def documented():
    """The table of ports in docs/security.md: {process: what it tells without its secret}."""
    rows = re.findall(r"^\| `(\S+)` \|[^|]*\|([^|]*)\|$", PAGE.read_text().partition("## Ports")[2], re.MULTILINE)
    return {name: {word for word in TELLS if word in text} for name, text in rows}


def processes(everything):
    """The processes of the sessions that the records name, and the connected command."""
    root, driver = everything
    leaders = [json.loads(file.read_text())["pid"] for file in (ray_node.place(root), Server(root).file)]
    return [psutil.Process(pid) for pid in psutil.pids() if pid == driver or session_of(pid) in leaders]


def session_of(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def name_of(process):
    """The process as the page calls it."""
    words = " ".join(process.cmdline()) or process.name()
    if DRIVER in process.cmdline():
        return "driver"
    if "evergreen.flows.guarded_app" in process.cmdline():
        return "prefect"
    if match := re.search(r"ray::(\w+)(:\w+)?|ray-dashboard-(\w+)-", words):
        name = match[1] or match[3]
        return name if name in documented() else "worker"  # Ray names a worker by what it does just now
    return "dashboard" if "dashboard/dashboard.py" in words else process.name()


def sockets(everything):
    """Every listening socket: (process, TCP or UDP, address, port)."""
    found = set()
    for process in processes(everything):
        for one in process.net_connections(kind="inet"):
            if one.status == psutil.CONN_LISTEN or (one.type == 2 and not one.raddr):
                found.add((name_of(process), "UDP" if one.type == 2 else "TCP", one.laddr.ip, one.laddr.port))
    return sorted(found)


def told(what, answer):
    """What an answer tells somebody without the secret; "" where it is a refusal."""
    if isinstance(answer, str):  # gRPC
        path, text = what, answer if answer == "OK" else ""
    else:
        path, text = what.split()[1], answer[1] if answer and answer[0] < 300 else ""
    if not text:
        return ""
    return next((word for word, known in TELLS.items() if re.match(known, f"{path} {text}", re.I)), f"{what}: {text}")


def test_each_socket_refuses_or_is_documented(everything):
    page, found = documented(), sockets(everything)
    assert {"haproxy", "gcs_server", "raylet", "dashboard", "ServeReplica", "driver", "prefect"} <= {
        name for name, *_ in found
    }
    assert [one for one in found if one[2] not in ("127.0.0.1", "::ffff:127.0.0.1")] == []
    assert [one for one in found if one[1] == "UDP"] == []
    assert {name for name, *_ in found} <= set(page), "docs/security.md, Ports, lists every process with a socket"
    MARK.unlink(missing_ok=True)
    ports = {str(port): name for name, _, _, port in found}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    tried = subprocess.run(
        [sys.executable, str(HERE / "probe.py"), *ports], env=environment, capture_output=True, text=True, check=True
    )
    answers = json.loads(tried.stdout)
    assert set(answers) == set(ports)
    wrong = {}
    for port, name in ports.items():
        if name == "worker" and answers[port] is None:  # Ray ends idle ones
            continue
        said = {word: what for what, answer in answers[port] if (word := told(what, answer))}
        more = {what: word for word, what in said.items() if word not in page[name]}  # than the page says
        strange = [what for what, answer in answers[port] if "evil" in what and told(what, answer) == "endpoint"]
        if more or strange or not answers[port]:
            wrong[f"{name} at {port}"] = more, strange
    assert wrong == {}
    assert not MARK.exists(), "something ran what was sent"
    assert {one for one in found if one[0] != "worker"} <= set(sockets(everything)), "all still stand"
    if os.getuid() != 0:
        pytest.skip("tried as the same user: only root can become another")


def test_the_processes_of_a_training_meet_at_no_port(everything, tmp_path):
    before = sockets(everything)
    command = [sys.executable, "-c", TRAINING, str(everything[0]), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as training:
        while not ((tmp_path / "0").exists() and (tmp_path / "1").exists()):
            assert training.poll() is None, training.stderr.read()
            time.sleep(0.1)
        found = [one for one in sockets(everything) if one not in before]
        (tmp_path / "end").touch()
        training.communicate(timeout=60)
    assert training.returncode == 0
    assert found
    assert [one for one in found if one[2] not in ("127.0.0.1", "::ffff:127.0.0.1")] == []
    assert {name for name, *_ in found} <= set(documented())


def test_files_and_lists_of_processes_hold_no_secret_for_others(everything):
    record = json.loads(ray_node.place(everything[0]).read_text())
    token = Path(record["token"])
    assert stat.S_IMODE(token.stat().st_mode) == stat.S_IMODE(Server(everything[0]).key_file.stat().st_mode) == 0o600
    secrets = token.read_text().strip(), Server(everything[0]).key.partition(":")[2]
    for folder in (ray_node.home(everything[0]), Path(record["folder"]).parent):  # Ray's own folder is open to all
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for process in processes(everything):
        assert not any(secret in " ".join(process.cmdline()) for secret in secrets)
        for one in process.net_connections(kind="unix"):
            if one.laddr.startswith("/") and Path(one.laddr).exists():
                assert any(stat.S_IMODE(parent.stat().st_mode) == 0o700 for parent in Path(one.laddr).parents)
