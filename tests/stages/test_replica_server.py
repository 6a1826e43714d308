"""The HTTP server that Serve starts in a replica, with our middleware before it: requests go past Serve's own code."""

import asyncio
import importlib
import json
import socket
import threading

import httpx
import pytest
from starlette.responses import PlainTextResponse

from evergreen.stages.artifacts import load_model
from evergreen.stages.deploy import request_headers
from evergreen.stages.deploy.endpoint import Endpoint
from evergreen.stages.engines import haproxy

JSON = {"content-type": "application/json"}


@pytest.fixture
def endpoint(tmp_path, random_model, monkeypatch):
    random_model("digits", tmp_path, 1)
    made = Endpoint()
    entry = {"version": "v1.0.0", "path": str(tmp_path), "limits": {}}
    asyncio.run(made.reconfigure({"revision": "1", "hosts": [], "pipelines": {"digits": entry}}))
    monkeypatch.setattr(request_headers, "_replica", {})
    return made


async def through_serve(scope, receive, send):
    await PlainTextResponse("Serve")(scope, receive, send)


async def start_server(tmp_path, monkeypatch):
    """Start the server as a replica does; return its address, itself and its task."""
    http_util = importlib.import_module("ray.serve._private.http_util")
    config = importlib.import_module("ray.serve.config")
    name = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
    monkeypatch.setattr(http_util, name, haproxy.environment(tmp_path)[name])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = http_util.configure_http_middlewares(config.HTTPOptions(host="127.0.0.1", port=port))
    loop = asyncio.get_running_loop()
    task, server = await http_util.start_asgi_http_server(through_serve, options, event_loop=loop)
    return f"http://127.0.0.1:{port}", server, task


def test_a_replica_answers_past_serve_except_for_serves_own_paths(endpoint, tmp_path, monkeypatch):
    async def send():
        answers = []
        for prepare in (lambda: None, endpoint.__serve_build_asgi_app__):  # as in Serve's proxy, as in a replica
            prepare()
            url, server, task = await start_server(tmp_path, monkeypatch)
            async with httpx.AsyncClient(base_url=url) as client:
                answers.append([await client.get(path, headers=marked) for path in ("/healthz", "/-/healthz")])
                answers[-1].append(await client.get("/healthz", headers=[("x-serve-x", "1"), ("x-odd", b"\xe4")]))
            server.should_exit = True
            await task
        return answers

    marked = {"x-request-id": "mine"}
    (*proxy,), (direct, health, odd) = asyncio.run(send())
    assert [answer.text for answer in (*proxy, health)] == ["Serve"] * 4
    assert direct.json()["pipelines"] == odd.json()["pipelines"] == {"digits": "v1.0.0"}
    assert [direct.headers.get_list("x-request-id"), health.headers.get_list("x-request-id")] == [["mine"]] * 2
    assert len(odd.headers["x-request-id"]) == 32


@pytest.mark.slow
def test_a_replica_that_leaves_answers_what_is_under_way(endpoint, tmp_path, monkeypatch):
    async def send():
        endpoint.__serve_build_asgi_app__()
        url, server, task = await start_server(tmp_path, monkeypatch)
        body = json.dumps({"rows": [endpoint.served["digits"].schema["example"]]}).encode()

        async def slowly():
            yield body[:20]
            server.should_exit = True  # what Serve does once HAProxy has let go of the replica
            await asyncio.sleep(0.5)
            yield body[20:]

        async with httpx.AsyncClient(base_url=url) as client:
            answer = await client.post("/digits/predict", content=slowly(), headers=JSON)
            await task
            with pytest.raises(httpx.ConnectError):
                await client.get("/healthz")
        return answer

    answer = asyncio.run(send())
    assert (answer.status_code, len(answer.json()["predictions"])) == (200, 1)


def test_what_the_endpoint_did_not_expect_is_logged_and_answered(endpoint, tmp_path, monkeypatch, caplog):
    def fail():
        raise ArithmeticError("odd")

    async def send():
        endpoint.__serve_build_asgi_app__()
        url, server, task = await start_server(tmp_path, monkeypatch)
        async with httpx.AsyncClient(base_url=url) as client:
            answer = await client.get("/healthz")
        server.should_exit = True
        await task
        return answer

    monkeypatch.setattr(endpoint, "health", fail)
    assert asyncio.run(send()).status_code == 500
    assert "odd" in caplog.text


@pytest.mark.slow
def test_a_client_that_leaves_a_slow_model_frees_its_place(endpoint, tmp_path, monkeypatch):
    may_answer, sizes = threading.Event(), []
    version = endpoint.served["digits"]
    predict = version.answer.predict

    def predict_slowly(table):
        sizes.append(table.num_rows)
        assert may_answer.wait(20)
        return predict(table)

    async def send():
        endpoint.__serve_build_asgi_app__()
        url, server, task = await start_server(tmp_path, monkeypatch)
        example = version.schema["example"]

        async def ask(rows, timeout):
            body = json.dumps({"rows": [example] * rows})
            async with httpx.AsyncClient(base_url=url) as client:
                return await client.post("/digits/predict", content=body, headers=JSON, timeout=timeout)

        stays = asyncio.create_task(ask(1, 30))
        while not sizes:
            await asyncio.sleep(0.01)
        held = endpoint.bodies.held_bytes
        with pytest.raises(httpx.ReadTimeout):
            await ask(2, 0.5)
        while endpoint.bodies.held_bytes > held:
            await asyncio.sleep(0.01)
        may_answer.set()
        answer = await stays
        server.should_exit = True
        await task
        return answer

    monkeypatch.setattr(version, "is_quick", False)
    monkeypatch.setattr(version.answer, "predict", predict_slowly)
    assert asyncio.run(asyncio.wait_for(send(), 30)).status_code == 200
    assert sizes == [1]
    assert version.answer.waiting_rows == 0


@pytest.mark.slow
def test_twenty_versions_follow_each_other_under_load_and_each_request_is_answered(
    endpoint, tmp_path, tmp_path_factory, random_model, monkeypatch
):
    random_model("digits", other := tmp_path_factory.mktemp("other"), 2)
    paths, example = [tmp_path, other], endpoint.served["digits"].schema["example"]
    models = [load_model(path) for path in paths]
    expected = [one.predict(one.spec.parse_request([example], ""))[0]["probabilities"] for one in models]

    async def send():
        endpoint.__serve_build_asgi_app__()
        url, server, task = await start_server(tmp_path, monkeypatch)
        answers, body = [], json.dumps({"rows": [example]})

        async def ask():
            async with httpx.AsyncClient(base_url=url) as client:
                while endpoint.revision != "end":
                    answers.append(await client.post("/digits/predict", content=body, headers=JSON))

        clients = [asyncio.create_task(ask()) for _ in range(8)]
        for number in range(20):
            before = len(answers)
            while len(answers) < before + 16:
                await asyncio.sleep(0.001)
            entry = {"version": f"v1.{number}.0", "path": str(paths[number % 2]), "limits": {}}
            await endpoint.reconfigure({"revision": str(number), "hosts": [], "pipelines": {"digits": entry}})
        endpoint.revision = "end"
        await asyncio.gather(*clients)
        server.should_exit = True
        await task
        return answers

    answers = asyncio.run(asyncio.wait_for(send(), 60))
    assert {answer.status_code for answer in answers} == {200}
    told = [(answer.json()["version"], answer.json()["predictions"][0]["probabilities"]) for answer in answers]
    assert {version for version, _ in told} >= {f"v1.{number}.0" for number in range(19)}
    for version, probabilities in told:
        assert probabilities == pytest.approx(expected[int(version.split(".")[1]) % 2], abs=1e-5)


@pytest.mark.slow
def test_slow_work_for_one_pipeline_holds_up_no_other(endpoint, tmp_path, tmp_path_factory, random_model, monkeypatch):
    """A batch that takes long, a long body that is read, a table: while they are under way others are answered."""
    places = {name: tmp_path_factory.mktemp(name) for name in ("sizes", "words")}
    for name, folder in places.items():
        random_model(name, folder, 1)
    entries = {name: {"version": "v1.0.0", "path": str(folder), "limits": {}} for name, folder in places.items()}
    pipelines = {"digits": endpoint.served["digits"].entry, **entries}
    asyncio.run(endpoint.reconfigure({"revision": "2", "hosts": [], "pipelines": pipelines}))
    digits, words, sizes = (endpoint.served[name] for name in ("digits", "words", "sizes"))
    may_answer, begun = threading.Event(), set()

    def hold(what, function):
        def slowly(*args, **options):
            begun.add(what)
            assert may_answer.wait(20)
            return function(*args, **options)

        return slowly

    monkeypatch.setattr(digits, "is_quick", False)
    monkeypatch.setattr(digits.answer, "predict", hold("batch", digits.answer.predict))
    monkeypatch.setattr(digits, "answer_table", hold("table", digits.answer_table))
    monkeypatch.setattr(words, "parse", hold("body", words.parse))

    async def send():
        endpoint.__serve_build_asgi_app__()
        url, server, task = await start_server(tmp_path, monkeypatch)
        rows = {name: one.schema["example"] for name, one in endpoint.served.items()}
        lines = json.dumps(rows["digits"]) + "\n"
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:

            def ask(name, body, kind=JSON):
                return asyncio.create_task(client.post(f"/{name}/predict", content=body, headers=kind))

            slow = [
                ask("digits", json.dumps(rows["digits"])),
                ask("digits", lines * 3, {"content-type": "application/x-ndjson"}),
                ask("words", json.dumps({"rows": [rows["words"]] * 999}) + " " * 2**16),
            ]
            while begun != {"batch", "table", "body"}:
                await asyncio.sleep(0.01)
            others = []
            for is_quick in (True, False):  # a network of any speed
                sizes.is_quick = is_quick
                others += [await ask("sizes", json.dumps(rows["sizes"])) for _ in range(5)]
            assert not any(one.done() for one in slow)
            may_answer.set()
            answers = [*others, *[await one for one in slow]]
        server.should_exit = True
        await task
        return answers

    try:
        assert {answer.status_code for answer in asyncio.run(asyncio.wait_for(send(), 30))} == {200}
    finally:
        may_answer.set()
