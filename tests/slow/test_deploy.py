"""Deploying to a real Ray Serve: versions change under load, pipelines share one address, mistakes change nothing."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import socket
import time
from collections import Counter
from datetime import UTC, datetime

import httpx
import psutil
import pytest

from benchmarks.engines import add_graph
from evergreen.core.errors import PipelineError
from evergreen.stages.deploy import stage as deploy
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.engines import onnx
from evergreen.stages.engines import haproxy, listening
from evergreen.stages.monitor.rollout_evidence import Evidence
from evergreen.stages.operation import CanaryConfig

JSON = {"content-type": "application/json"}
CLIENTS = 8  # each waits for its answer before it asks again


@pytest.fixture(scope="module")
def released(clone, tmp_path_factory, random_model):
    """The released versions of two pipelines: {name: [{"version", "path"}, …]}."""
    made = {}
    for name, seed in (("digits", 1), ("digits", 2), ("sizes", 1)):
        folder = tmp_path_factory.mktemp(name)
        random_model(name, folder, seed, "mlp", size=16.0)  # large enough for loading it to take a while
        made.setdefault(name, []).append({"version": f"v{seed}.0.0", "path": str(folder)})
    if onnx.is_installed():
        add_graph(folder)  # to sizes
    return made


@pytest.fixture(scope="module")
def endpoint(clone, released):
    """Both pipelines at their first version; port 8000, or the one after it, is somebody else's."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an endpoint may have stood there a moment ago
        taken = next(port for port in range(8000, 9000) if binds(other, port))
        other.listen()
        one = deploy.deploy(clone, first(released), DeployConfig(max_body_bytes=50_000))
    assert int(one["url"].rpartition(":")[2]) > taken
    yield one
    assert deploy.undeploy(clone)
    assert deploy.status(clone) is None


def binds(server, port):
    with contextlib.suppress(OSError):
        server.bind(("127.0.0.1", port))
        return True


def first(released, **instead):
    return {name: versions[0] for name, versions in released.items()} | instead


def put(clone, released, **instead):
    return deploy.deploy(clone, first(released, **instead), DeployConfig(max_body_bytes=50_000))


async def under_load(url, body, change):
    """Holds load while `change` runs in a thread; (status, version) of each answer in order, and failed requests."""
    answers, failures, stop = [], [], asyncio.Event()

    async def client():
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            while not stop.is_set():
                try:
                    response = await http.post("/digits/predict", content=body, headers=JSON)
                    answers.append((response.status_code, response.json().get("version"), response.text))
                except (httpx.HTTPError, ValueError) as error:
                    failures.append(repr(error))

    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(change)
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.gather(*clients)
    return answers, failures


def example(url, name="digits"):
    return httpx.get(f"{url}/{name}").json()["row"]["example"]


def test_both_pipelines_answer_at_one_address(clone, endpoint):
    assert endpoint["proxy"] == ("HAProxy" if listening.haproxy_runs() else "Ray Serve's own")
    for name in ("digits", "sizes"):
        body = {"rows": [example(endpoint["url"], name)] * 3}
        headers = {"x-request-id": f"mine-{name}"}
        response = httpx.post(f"{endpoint['url']}/{name}/predict", json=body, headers=headers)
        answer = response.json()
        assert (response.status_code, answer["version"], len(answer["predictions"])) == (200, "v1.0.0", 3)
        assert answer["request_id"] == response.headers["x-request-id"] == f"mine-{name}"
        assert sum(answer["predictions"][0]["probabilities"].values()) == pytest.approx(1)
        engine = "onnx" if name == "sizes" and onnx.is_installed() else "torch"
        assert httpx.get(f"{endpoint['url']}/{name}").json()["engine"] == engine
    assert deploy.status(clone)["pipelines"] == {"digits": "v1.0.0", "sizes": "v1.0.0"}
    assert httpx.get(f"{endpoint['url']}/healthz").json()["pipelines"]["digits"] == "v1.0.0"


def test_upgrade_and_rollback_lose_no_request(clone, endpoint, released):
    url = endpoint["url"]
    replica = httpx.get(f"{url}/healthz").json()["replica"]

    def change():
        put(clone, released, digits=released["digits"][1])
        asyncio.run(asyncio.sleep(0.3))
        put(clone, released)

    answers, failures = asyncio.run(under_load(url, json.dumps({"rows": [example(url)]}), change))
    assert failures == []
    assert {status for status, _, _ in answers} == {200}, answers[-1]
    counts = Counter(version for _, version, _ in answers)
    assert set(counts) == {"v1.0.0", "v2.0.0"}
    versions = [version for _, version, _ in answers]
    assert (versions[0], versions[-1]) == ("v1.0.0", "v1.0.0")
    changes = sum(before != after for before, after in itertools.pairwise(versions))
    assert changes <= 2 * CLIENTS, "answers under way at a change may cross; no more than that"
    by_version = {version: json.loads(text)["predictions"] for _, version, text in answers}
    assert by_version["v1.0.0"] != by_version["v2.0.0"]
    for _, version, text in answers:
        assert json.loads(text)["predictions"][0]["prediction"] == by_version[version][0]["prediction"]
    assert httpx.get(f"{url}/healthz").json()["replica"] == replica, "replaced in place, not restarted"


def test_a_version_that_does_not_load_is_named_and_the_others_go_on(clone, endpoint, released, tmp_path):
    (tmp_path / "model.json").write_text('{"format": 2}')
    broken = {"version": "v3.0.0", "path": str(tmp_path)}
    found = put(clone, released, digits=broken, wines=broken, sizes={**released["sizes"][0], "version": "v1.1.0"})
    assert set(found["failures"]) == {"digits", "wines"}
    assert "written by a newer Evergreen" in found["failures"]["digits"]
    assert found["pipelines"] == {"digits": "v1.0.0", "sizes": "v1.1.0"}
    assert httpx.get(f"{endpoint['url']}/healthz").json()["pipelines"] == found["pipelines"]
    found = put(clone, released, digits={"version": "v3.0.0", "path": str(tmp_path / "nowhere")})
    assert "are missing" in found["failures"]["digits"]
    assert found["pipelines"] == {"digits": "v1.0.0", "sizes": "v1.0.0"}


def test_a_replica_that_cannot_load_it_keeps_the_old_and_deploy_says_so(
    clone, endpoint, released, monkeypatch, tmp_path
):
    """As on a machine that does not see the model's folder: what deploy itself can load, the replica cannot."""
    monkeypatch.setattr(deploy, "try_out", lambda wanted, served: (dict(wanted), {}))
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(PipelineError, match=r"digits: .*cannot be loaded"):
        put(clone, released, digits={"version": "v3.0.0", "path": str(tmp_path)})
    url = endpoint["url"]
    assert httpx.post(f"{url}/digits/predict", json=example(url)).json()["version"] == "v1.0.0"
    assert deploy.status(clone)["pipelines"]["digits"] == "v1.0.0"


BAD = [
    ("POST", "/digits/predict", "{", 400, "JSON"),
    ("POST", "/digits/predict", '{"rows": [{}]}', 422, "image"),
    ("POST", "/digits/predict", '{"rows": [{"image": [[1, 2], [3, 4]]}]}', 422, "(2, 2)"),
    ("POST", "/sizes/predict", '{"rows": [{"age": NaN, "colour": "red"}]}', 422, "age"),
    ("POST", "/sizes/predict", '{"rows": [{"age": "3", "colour": "red"}]}', 422, "age"),
    ("POST", "/sizes/predict", '{"rows": [{"age": 3, "color": "red"}]}', 422, "color"),
    ("POST", "/sizes/predict", '{"rows": []}', 422, "rows"),
    ("POST", "/size/predict", "{}", 404, "sizes"),
    ("POST", "/digits", "{}", 405, "GET"),
    ("GET", "/digits/predict", None, 405, "POST"),
    ("POST", "/digits/predict", " " * 50_001, 413, "50000"),
    ("POST", "/digits/predict", " " * 5_000_000, 413, "50000"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "word"), BAD)
def test_bad_requests_through_serve(endpoint, method, path, body, status, word):
    response = httpx.request(method, endpoint["url"] + path, content=body, headers=JSON, timeout=30)
    assert response.status_code == status, response.text
    assert word in response.json()["error"]


FAULT = """
import time
import torch
from evergreen.models.architectures.linear import Linear

CALLS = []  # those of the first batches are no request's


class Faulty(Linear):
    \"\"\"A linear model that breaks once it is asked.\"\"\"

    VERSION = 1

    def forward(self, batch):
        CALLS.append(1)
        if len(CALLS) > 8:
            {fault}
        return super().forward(batch)
"""
FAULTS = {
    "raising": "raise ValueError",
    "slow": "time.sleep(0.3)",
    "eating": "CALLS.append(torch.ones(2**27, dtype=torch.uint8))",
    "dying": "import os; os._exit(1)",
    "wrong": "return -9 * super().forward(batch)",
}


@pytest.fixture(scope="module")
def faulty(clone, released, tmp_path_factory, random_model):
    """Pipelines with one version that answers, and beside it one that breaks in the way of the pipeline's name."""
    released, beside = {}, {}
    for name, fault in FAULTS.items():
        for version in ("v1.0.0", "v2.0.0"):
            random_model("digits", folder := tmp_path_factory.mktemp(name), 1)
            released.setdefault(name, {"version": version, "path": str(folder)})
        part = folder / "parts" / "architectures" / "linear.py"
        part.parent.mkdir(parents=True)
        part.write_text(FAULT.format(fault=fault))
        facts = {"version": "v2.0.0", "role": "canary", "share": 0.5, "pins": {}}
        versions = [{"version": "v2.0.0", "path": str(folder)}]
        beside[name] = {**facts, "versions": versions, "max_bytes": 2**30, "max_seconds": 3.0}
    return released, beside


def test_a_canary_that_breaks_is_answered_for_and_takes_nothing_with_it(clone, endpoint, faulty):
    released, beside = faulty
    deploy.deploy(clone, released, DeployConfig(), beside=beside)
    url = endpoint["url"]
    state = httpx.get(f"{url}/healthz").json()
    assert [one["problems"] for one in state["rollouts"].values()] == [{"v2.0.0": ""}] * len(FAULTS)
    row = httpx.get(f"{url}/slow").json()["row"]["example"]

    async def load():  # 60 requests to each
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:

            async def ask(name, number):
                body = {"rows": [{**row, "_id": f"customer-{number}"}]}
                return name, number, await http.post(f"/{name}/predict", json=body)

            return await asyncio.gather(*(ask(name, number % 20) for name in FAULTS for number in range(60)))

    answers = asyncio.run(load())
    assert {response.status_code for _, _, response in answers} == {200}
    by = {(name, response.json()["version"]) for name, _, response in answers}
    assert by >= {(name, "v1.0.0") for name in FAULTS} | {("wrong", "v2.0.0"), ("slow", "v2.0.0")}
    for name in ("wrong", "slow"):  # a caller keeps its version
        versions = {(number, response.json()["version"]) for one, number, response in answers if one == name}
        assert len(versions) == 20
    assert httpx.get(f"{url}/healthz").json()["replica"] == state["replica"]

    async def serve_until_decided():
        decisions, limit = {}, time.monotonic() + 30
        evidence = {
            name: Evidence(clone / ".evergreen/requests" / name, "v1.0.0", "v2.0.0", start, config) for name in FAULTS
        }
        while len(decisions) < len(FAULTS) and time.monotonic() < limit:
            assert {answer[2].status_code for answer in await load()} == {200}
            for name, found in evidence.items():
                found.read()
                decisions |= {name: found.decide()} if found.decide().verdict else {}
        return decisions

    config, start = CanaryConfig(max_disagreement=0.1), datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    decisions = asyncio.run(serve_until_decided())
    assert {name: one.verdict for name, one in decisions.items()} == dict.fromkeys(FAULTS, "abort")
    deploy.deploy(clone, released, DeployConfig())
    assert {answer[2].json()["version"] for answer in asyncio.run(load())} == {"v1.0.0"}


def test_a_shadow_changes_no_byte_of_an_answer(clone, endpoint, faulty):
    released, beside = faulty
    shadows = {name: {**beside[name], "role": "shadow", "share": 0.0} for name in ("raising", "slow")}
    url, row = endpoint["url"], example(endpoint["url"], "slow")

    def ask(name, number):
        headers = {"x-request-id": f"{name}-{number}"}
        answer = httpx.post(f"{url}/{name}/predict", json={"rows": [row] * (1 + number % 3)}, headers=headers)
        of_the_proxy = ("connection", "date")  # which ends connections as it reloads
        kept = {name: value for name, value in answer.headers.items() if name not in of_the_proxy}
        return answer.status_code, answer.content, kept

    deploy.deploy(clone, released, DeployConfig())
    asked = [(name, number) for name in shadows for number in range(20)]
    alone = [ask(*one) for one in asked]
    assert {status for status, *_ in alone} == {200}
    deploy.deploy(clone, released, DeployConfig(), beside=shadows)
    assert [ask(*one) for one in asked] == alone
    limit, seen = time.monotonic() + 20, set()
    wanted = {("raising", "failed"), ("slow", "answered")}
    while not wanted <= seen and time.monotonic() < limit:  # it answers when nobody waits any more
        figures = re.findall(r'rollout_requests_total\{pipeline="(\w+)".*outcome="(\w+)"', metrics(url))
        seen = {(name, outcome) for name, outcome in figures if name in shadows}
    assert wanted <= seen


def metrics(url):
    return httpx.get(f"{url}/metrics").text


def find_replicas(clone):
    """The processes that listen on ports of this clone's replicas."""
    first_port = haproxy._ports(clone)["replicas"]
    ports = range(first_port, first_port + haproxy.REPLICA_PORTS)
    listening = [one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port in ports]
    found = sorted({one.pid for one in listening})
    assert all("ServeReplica" in psutil.Process(pid).cmdline()[0] for pid in found)
    return found


def test_two_replicas_serve_the_same_version(clone, endpoint, released):
    two = DeployConfig(replicas=2, max_body_bytes=50_000)
    deploy.deploy(clone, first(released, digits=released["digits"][1]), two)
    until, replicas = time.monotonic() + 20, set()
    while len(replicas) < 2 and time.monotonic() < until:  # the proxy spreads requests as it likes
        state = httpx.get(f"{endpoint['url']}/healthz").json()
        assert state["pipelines"]["digits"] == "v2.0.0"
        replicas.add(state["replica"])
    assert len(replicas) == 2


@pytest.mark.skipif(not listening.haproxy_runs(), reason="Serve's own proxy asks nobody again")
def test_of_two_replicas_one_that_is_killed_under_load_loses_nothing(clone, endpoint):
    """It stands after the test that starts them."""
    one, _ = find_replicas(clone)

    def change():
        os.kill(one, signal.SIGKILL)
        time.sleep(3)

    body = json.dumps({"rows": [example(endpoint["url"])]})
    answers, failures = asyncio.run(under_load(endpoint["url"], body, change))
    assert failures == []
    assert {status for status, *_ in answers} == {200}
