"""Requests that are small to send and large to read: each is refused in one line, and others are answered meanwhile."""

import asyncio
import json
import resource
import threading

import httpx
import numpy as np
import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.data.kinds.sound import wav
from evergreen.stages.deploy import request_body
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint
from tests.stages.bombs import BOMBS, film, picture, rows, sound

JSON = {"content-type": "application/json"}
ARCHITECTURES = {"digits": "linear", "photos": "linear", "sounds": "linear", "words": "rnn"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, random_model):
    made = {name: tmp_path_factory.mktemp(name) for name in ARCHITECTURES}
    for name, folder in made.items():
        random_model(name, folder, 1, ARCHITECTURES[name])
    return made


def start(folders, hosts=(), **limits):
    """An endpoint with these limits, or the documented ones."""
    endpoint = Endpoint()
    entries = {name: {"version": "v1", "path": str(path), "limits": limits} for name, path in folders.items()}
    asyncio.run(endpoint.reconfigure({"revision": "1", "hosts": list(hosts), "pipelines": entries}))
    assert not endpoint.failures
    return endpoint


@pytest.fixture(scope="module")
def endpoint(folders):
    return start(folders)


def client(endpoint):
    transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None)


def post(endpoint, path, body, headers=JSON):
    async def send():
        async with client(endpoint) as http:
            return await http.post(path, content=body, headers=headers)

    return asyncio.run(send())


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_one_line(endpoint, name):
    pipeline, body, status, words = BOMBS[name]
    response = post(endpoint, f"/{pipeline}/predict", body)
    assert response.status_code == status, response.text
    message = response.json()["error"]
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("pipeline", "body"),
    [
        ("photos", rows(image=picture(4_000, 4_000))),
        ("photos", rows(image=film(200))),
        ("sounds", rows(sound=sound(size=2**32 - 1))),  # a header that promises 4 GB, as of a recording cut off
        ("sounds", rows(sound=wav.encode_wav(np.sin(np.arange(9_999) / 9), 44_100))),
        ("words", rows(text="word " * 100_000)),
        ("words", rows(text="abcdefgh" * 40_000)),
    ],
)  # fmt: skip
def test_what_is_large_and_allowed_is_answered(endpoint, pipeline, body):
    response = post(endpoint, f"/{pipeline}/predict", body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("limit", "value", "status"),
    [("max_decoded_bytes", 50, 413), ("max_parse_seconds", 1e-9, 422), ("max_values", 5, 413), ("max_rows", 1, 422)],
)
def test_a_limit_names_its_key(folders, limit, value, status):
    endpoint = start({"digits": folders["digits"]}, **{limit: value})
    response = post(
        endpoint, "/digits/predict", json.dumps({"rows": [endpoint.served["digits"].schema["example"]] * 2})
    )
    assert response.status_code == status, response.text
    assert limit in response.json()["error"]


def test_a_body_that_does_not_come_is_given_up(folders):
    endpoint = start({"digits": folders["digits"]}, max_body_seconds=0.05)

    async def half():
        yield b'{"rows": ['
        await asyncio.Event().wait()

    response = post(endpoint, "/digits/predict", half())
    assert response.status_code == 408
    assert "max_body_seconds" in response.json()["error"]
    assert endpoint.bodies.held_bytes == 0


def test_what_is_not_answered_in_the_time_that_it_has_leaves_the_queue(folders):
    endpoint, may_end, batches = start({"digits": folders["digits"]}), threading.Event(), []
    served = endpoint.served["digits"]
    served.is_quick, batcher, predict = False, served.answer, served.answer.predict
    batcher.predict = lambda table: (batches.append(table.num_rows), may_end.wait(20), predict(table))[-1]
    body, many = (json.dumps({"rows": [served.schema["example"]] * count}) for count in (1, 2))

    async def ask():
        async with client(endpoint) as http:
            first = asyncio.create_task(http.post("/digits/predict", content=body, headers=JSON))
            while not batches:
                await asyncio.sleep(0.001)
            late = await http.post("/digits/predict", content=many, headers={**JSON, "X-Request-Timeout": "0.01"})
            wrong = await http.post("/digits/predict", content=body, headers={**JSON, "X-Request-Timeout": "soon"})
            may_end.set()
            return await first, late, wrong

    first, late, wrong = asyncio.run(ask())
    assert (first.status_code, late.status_code, wrong.status_code) == (200, 504, 400)
    assert "no answer within 0.01 s" in late.json()["error"]
    assert "'soon'; send seconds" in wrong.json()["error"]
    assert (batches, batcher.waiting_rows) == ([1], 0)


def test_bodies_that_wait_take_no_more_memory_than_may_be(folders):
    endpoint = start({"digits": folders["digits"]}, max_body_bytes=1000, max_queue_bytes=2500, max_body_seconds=0.2)

    async def send():
        async def half():
            yield b" " * 900
            await asyncio.Event().wait()

        async with client(endpoint) as http:
            asked = (http.post("/digits/predict", content=half(), headers=JSON) for _ in range(5))
            return [response.status_code for response in await asyncio.gather(*asked)]

    assert sorted(asyncio.run(send())) == [408, 408, 429, 429, 429]
    assert endpoint.bodies.held_bytes == 0


@pytest.mark.slow
def test_fifty_pictures_at_once_take_the_memory_of_one_and_leave_the_loop_free(endpoint):
    body = rows(image=picture(2_000, 2_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def send():
        async with client(endpoint) as http:
            pictures = [
                asyncio.create_task(http.post("/photos/predict", content=body, headers=JSON)) for _ in range(50)
            ]
            answered = 0
            while not all(task.done() for task in pictures):
                assert (await http.get("/healthz")).status_code == 200
                answered += 1
                await asyncio.sleep(0.01)
            return answered, [task.result().status_code for task in pictures]

    answered, statuses = asyncio.run(send())
    assert set(statuses) == {200}
    assert answered > 50, "the loop answers others while pictures are decoded"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 20 * 2_000 * 2_000


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "127.0.0.1:8000"}, 200),
        ({"host": "LOCALHOST"}, 200),
        ({"host": "[::1]:1"}, 200),
        ({"host": "models.example.org:443"}, 200),
        ({"host": "evil.example.org"}, 421),
        ({"host": "127.0.0.1.evil.example.org"}, 421),
        ({"host": "localhost@evil.example.org"}, 421),
        ({"host": "localhost:80:80"}, 421),
        ({"host": ""}, 421),
        ({"host": "<script>"}, 421),
        ({"origin": "http://localhost:3000"}, 200),
        ({"origin": "https://models.example.org"}, 200),
        ({"origin": "https://evil.example.org"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "file://localhost"}, 403),
    ],
)
def test_whom_a_request_is_for_and_which_page_sent_it(folders, headers, status):
    endpoint = start({"digits": folders["digits"]}, hosts=["models.example.org"])
    body = json.dumps(endpoint.served["digits"].schema["example"])
    response = post(endpoint, "/digits/predict", body, {**JSON, **headers})
    assert response.status_code == status, response.text
    assert "access-control-allow-origin" not in response.headers
    if status != 200:
        assert "allowed_hosts" in response.json()["error"]


def test_hosts_are_names():
    assert build(DeployConfig, {"allowed_hosts": ["models.example.org", "10.0.0.1", "[fe80::1]"]}, "deploy")
    for wrong in ("*", "a:80", "http://a", "a/b", "", "a\nb"):
        with pytest.raises(PipelineError, match="allowed_hosts"):
            build(DeployConfig, {"allowed_hosts": [wrong]}, "deploy")


SPACE = " " * request_body.LONG_BYTES
LONG = [
    '{"rows": [{"a": 1, "b": [1.5, NaN, "]}"]}, {"a": {"rows": [2]}}]}',
    '\n{ "rows" :\t[ {"ä": "\\ud800"} , 3,null ] } \r\n',
    '{"rows": [{"a": 1}]}',
    '{"rows": []}',
    '{"rows": [1], "more": 2}',
    '{"rows": [1], "rows": [2]}',
    '{"more": [1]}',
    '{"a": 1, "a": 2}',
    "[1]",
    '{"rows": [1]} x',
    '{"rows": [1,]}',
    '{"rows": [1 2]}',
    '{"rows": [1}',
    '{"rows": [1]\xa0}',
    '\ufeff{"rows": [1]}',
    '{"rows": [' + "[" * 9000,
    '{"rows": [1' + "0" * 5000 + "]}",
]


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
def test_a_long_body_is_parsed_as_a_short_one_is(text, coding, monkeypatch):
    body = (text + SPACE).encode(coding, "surrogatepass")

    def parse():
        try:
            return repr(request_body._parse(body))
        except request_body.RequestError as error:
            return str(error)

    found = parse()
    monkeypatch.setattr(request_body, "LONG_BYTES", len(body))
    assert parse() == found


def test_rows_of_a_long_body_are_parsed_one_by_one(monkeypatch):
    monkeypatch.setattr(json, "loads", None)  # it lets no other thread run until all is parsed
    rows = [{"a": number, "b": "x" * 40} for number in range(1000)]
    assert request_body._parse(json.dumps({"rows": rows}).encode()) == {"rows": rows}
