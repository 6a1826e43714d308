"""The endpoint, with HAProxy and Serve as they are, among clients that mean harm: it answers the others."""

import asyncio
import json
import resource
import socket
from collections import Counter

import httpx
import psutil
import pytest

from evergreen.stages.deploy import stage as deploy
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.engines import listening, ray_node
from tests.slow.hostile_requests import Hostile, hostile_requests, request

SEED, NUMBER = 20, 10_000
AT_ONCE = 60
WAIT_SECONDS = 60  # for an answer, on a machine that does other things, too
SLOW = 4_000  # connections that begin a request and do not end it


@pytest.fixture(scope="module")
def url(clone, tmp_path_factory, random_model):
    """The endpoint of models that take matrices, columns, pictures, sounds and texts."""
    made = {}
    for name, architecture in MODELS.items():
        folder = tmp_path_factory.mktemp(name)
        random_model(name, folder, 1, architecture)
        made[name] = {"version": "v1.0.0", "path": str(folder)}
    yield deploy.deploy(clone, made, DeployConfig(max_body_seconds=10))["url"]
    deploy.undeploy(clone)


MODELS = {"digits": "linear", "sizes": "linear", "photos": "linear", "sounds": "linear", "words": "rnn"}


def examples(url):
    """A row of each pipeline that may be sent."""
    return {name: httpx.get(f"{url}/{name}").json()["row"]["example"] for name in ("digits", "sizes", "words")}


async def exchange(address, hostile):
    """The status of the first answer; 0 where the connection ended without one, None where the client left."""
    try:
        reader, writer = await asyncio.open_connection(*address)
    except ConnectionError:
        return 0
    try:
        writer.write(hostile.data)
        if hostile.leaves:
            return None
        line = await asyncio.wait_for(reader.readline(), WAIT_SECONDS)
        await asyncio.wait_for(reader.read(), WAIT_SECONDS) if hostile.is_valid else None
        return int(line.split()[1]) if line.startswith(b"HTTP/") else 0
    except ConnectionError:
        return 0
    finally:
        writer.transport.abort()


async def send_all(address, requests):
    """The status of each request, of which some are under way at once."""
    waiting, room = [], asyncio.Semaphore(AT_ONCE)

    async def one(hostile):
        try:
            return await exchange(address, hostile)
        finally:
            room.release()

    for hostile in requests:
        await room.acquire()
        waiting.append(asyncio.create_task(one(hostile)))
    return await asyncio.gather(*waiting)


@pytest.mark.parametrize(
    "header",
    [
        ("X-Request-ID", "\xe4"),  # Ray Serve decodes it before the endpoint is asked
        ("serve_multiplexed_model_id", "\xe4"),
        ("x-session-id", "\xff"),
        ("x-request-timeout-seconds", "0.000001"),  # what it obeys
        ("Cookie", "\xe4=\xf6"),
        ("Expect", "100-continue"),
    ],
)
def test_headers_that_serve_would_stumble_over(url, header):
    body = json.dumps({"rows": [examples(url)["digits"]]}).encode()
    hostile = Hostile(request(body, headers=[header]), is_valid=True)
    assert asyncio.run(exchange(address_of(url), hostile)) in (200, 100)


def servers(clone):
    """The replicas and HAProxy: {pid: (bytes of memory, open files)}."""
    leader = json.loads(ray_node.place(clone).read_text())["pid"]
    found = {}
    for process in psutil.Process(leader).children(recursive=True):
        if process.name() == "haproxy" or "ServeReplica" in " ".join(process.cmdline()):
            found[process.pid] = (process.memory_info().rss, process.num_fds())
    assert len(found) >= (2 if listening.haproxy_runs() else 1)
    return found


def address_of(url):
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


def test_ten_thousand_mixed_requests(clone, url):
    rows, address = examples(url), address_of(url)
    asyncio.run(send_all(address, hostile_requests(SEED + 1, 500, rows)))  # what is allocated once
    before = servers(clone)
    requests = list(hostile_requests(SEED, NUMBER, rows))
    statuses = asyncio.run(send_all(address, requests))
    wrong = [(status, one.data[:300]) for status, one in zip(statuses, requests, strict=True) if (status or 0) >= 500]
    assert wrong == []
    valid = Counter(status for status, one in zip(statuses, requests, strict=True) if one.is_valid)
    assert valid == {200: sum(one.is_valid for one in requests)}
    refused = Counter(status for status, one in zip(statuses, requests, strict=True) if not one.is_valid)
    assert {400, 403, 404, 405, 413, 415, 421, 422} <= set(refused), refused
    after = servers(clone)
    assert set(after) == set(before), "no server was replaced"
    for pid, (memory, files) in after.items():
        assert memory - before[pid][0] < 200 * 2**20
        assert files - before[pid][1] < 100


@pytest.mark.skipif(not listening.haproxy_runs(), reason="Serve's own proxy is the endpoint, and tried as that")
def test_serves_own_proxy_stands_them_too(clone, url):
    """It stands in for HAProxy while no replica is ready, and everywhere but on Linux."""
    rows, port = examples(url), json.loads((clone / ".evergreen" / "serve.json").read_text())["fallback_http"]
    requests = list(hostile_requests(SEED + 2, 600, rows))
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(600)]
    try:
        for one, start in zip(held, half_requests(len(held)), strict=True):
            one.sendall(start)
        statuses = asyncio.run(send_all(("127.0.0.1", port), requests))
    finally:
        for one in held:
            one.close()
    wrong = [(status, one.data[:300]) for status, one in zip(statuses, requests, strict=True) if (status or 0) >= 500]
    assert wrong == []
    assert {status for status, one in zip(statuses, requests, strict=True) if one.is_valid} == {200}


def half_requests(number):
    """Beginnings of requests: a head cut off, a body cut off, nothing at all."""
    whole = request(b'{"rows": [' + b" " * 1000)
    return [whole[: (0, 30, 200, len(whole) - 500)[index % 4]] for index in range(number)]


def test_slow_clients_hold_up_nobody(url):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = min(SLOW, hard - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, number + 1000)), hard))
    body = json.dumps({"rows": [examples(url)["digits"]]})
    held = []
    try:
        for start in half_requests(number):
            held.append(socket.create_connection(address_of(url)))
            held[-1].sendall(start)
        for _ in range(100):
            response = httpx.post(f"{url}/digits/predict", content=body, headers={"content-type": "application/json"})
            assert response.status_code == 200
        if listening.haproxy_runs():
            for one in held:
                one.settimeout(WAIT_SECONDS + 60)
                assert one.recv(100)[:12] in (b"", b"HTTP/1.1 408", b"HTTP/1.0 408")
    finally:
        for one in held:
            one.close()
    assert number == SLOW, f"this system lets a process open {hard} files: {number} slow clients were tried"
