"""The endpoint as an ASGI application, with real models and no Serve around it."""

import asyncio
import gzip
import json
import resource
import zlib

import httpx
import pyarrow as pa
import pytest
import torch

from evergreen.stages.deploy import loaded_version, openapi
from evergreen.stages.deploy.batching import Batcher, QueueFullError
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint

LIMITS = DeployConfig(max_rows=20, max_queue_rows=40, max_body_bytes=20_000).model_dump()
JSON = {"content-type": "application/json"}
GZIP = {**JSON, "content-encoding": "gzip"}


@pytest.fixture(scope="module")
def entries(tmp_path_factory, random_model):
    """Per pipeline its versions, as the endpoint is told of them."""
    made = {}
    for name, seed in (("digits", 1), ("digits", 2), ("sizes", 3)):
        folder = tmp_path_factory.mktemp(name)
        random_model(name, folder, seed)
        made.setdefault(name, []).append({"version": f"v{seed}.0.0", "path": str(folder), "limits": LIMITS})
    return made


def config(**entries):
    return {"revision": str(entries), "hosts": ["here"], "pipelines": entries}


@pytest.fixture
def endpoint(entries):
    torch.set_num_threads(1)
    endpoint = Endpoint()
    asyncio.run(endpoint.reconfigure(config(digits=entries["digits"][0], sizes=entries["sizes"][0])))
    assert not endpoint.failures
    return endpoint


def ask(endpoint, *requests):
    """The responses to requests (method, path, keyword arguments of httpx) that are sent at once."""

    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await asyncio.gather(*(client.request(method, path, **more) for method, path, more in requests))

    return asyncio.run(send())


def post(endpoint, path, body, headers=JSON):
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return ask(endpoint, ("POST", path, {"content": text, "headers": headers}))[0]


def row(endpoint, name="digits"):
    return endpoint.served[name].schema["example"]


def test_answers_rows_in_order_with_version_and_the_senders_request_id(endpoint):
    dark = {"image": [[0.0] * 4] * 4}
    rows = [row(endpoint), dark, row(endpoint)]
    response = post(endpoint, "/digits/predict", {"rows": rows}, {**JSON, "x-request-id": "mine-7"})
    answer = response.json()
    assert (response.status_code, answer["version"], answer["request_id"]) == (200, "v1.0.0", "mine-7")
    first, second, third = answer["predictions"]
    assert first == third != second
    assert sum(first["probabilities"].values()) == pytest.approx(1)
    model = endpoint.served["digits"].model
    alone = model.predict(model.spec.parse_request([dark], ""))[0]
    assert alone["probabilities"] == pytest.approx(second["probabilities"], abs=1e-6)  # a batch sums in another order


def test_one_row_alone_is_a_request(endpoint):
    assert len(post(endpoint, "/digits/predict", row(endpoint)).json()["predictions"]) == 1


def test_a_wild_request_id_is_replaced(endpoint):
    answer = post(endpoint, "/digits/predict", row(endpoint), {**JSON, "x-request-id": "x" * 500}).json()
    assert len(answer["request_id"]) == 32


def good(**changes):
    return {"rows": [{"age": 0.5, "colour": "red", **changes}]}


SQUARE = [[0.0] * 4] * 4
BAD = [
    # path, body, status, words that the message must have
    ("/digits/predict", "{not json", 400, ["JSON", "line 1"]),
    ("/digits/predict", "", 400, ["JSON"]),
    ("/digits/predict", b"\xff\xfe\xfd", 400, ["JSON"]),
    ("/digits/predict", "[" * 5000, 400, ["JSON"]),
    ("/digits/predict", '{"rows": 1' + "0" * 5000 + "}", 400, ["JSON"]),
    ("/digits/predict", "[1, 2]", 422, ["a list", "rows"]),
    ("/digits/predict", "null", 422, ["null", "rows"]),
    ("/digits/predict", {"rows": []}, 422, ["no rows"]),
    ("/digits/predict", {"rows": {"image": SQUARE}}, 422, ["rows", "an object", "list"]),
    ("/digits/predict", {"rows": [3]}, 422, ["row 0", "object"]),
    ("/digits/predict", {"rows": [{"image": SQUARE}], "more": 1}, 422, ["more", "rows"]),
    ("/digits/predict", {"rows": [{"image": SQUARE}] * 21}, 422, ["21", "20"]),
    ("/digits/predict", {"rows": [{}]}, 422, ["row 0", "image", "missing"]),
    ("/digits/predict", {"rows": [{"imgae": SQUARE}]}, 422, ["row 0", "imgae", "image"]),
    ("/digits/predict", {"rows": [{"imag \ud800": 1}]}, 422, ["row 0", "imag"]),
    ("/digits/predict", {"rows": [{"image": SQUARE}, {"image": SQUARE[1:]}]}, 422, ["row 1", "image", "(3, 4)"]),
    ("/digits/predict", {"rows": [{"image": [[0.0] * 4] * 3 + [[0.0]]}]}, 422, ["image", "(4, 4)"]),
    ("/digits/predict", {"rows": [{"image": "picture"}]}, 422, ["image", "picture"]),
    ("/digits/predict", {"rows": [{"image": [["1"] * 4] * 4}]}, 422, ["image", "number"]),
    ("/digits/predict", '{"rows": [{"image": [[NaN,0,0,0],[0,0,0,0],[0,0,0,0],[0,0,0,0]]}]}', 422, ["image", "NaN"]),
    ("/digits/predict", '{"rows": [{"image": [[1e999,0,0,0],[0,0,0,0],[0,0,0,0],[0,0,0,0]]}]}', 422, ["image", "Inf"]),
    ("/sizes/predict", good(age="0.5"), 422, ["row 0", "age", "number"]),
    ("/sizes/predict", good(age=[1]), 422, ["row 0", "age"]),
    ("/sizes/predict", '{"rows": [{"age": -Infinity, "colour": "red"}]}', 422, ["row 0", "age"]),
    ("/sizes/predict", good(colour={}), 422, ["row 0", "colour"]),
    ("/digits/predict", {"rows": [{"image": [[0.123456789] * 4] * 4}] * 400}, 413, ["20000 bytes"]),
    ("/digit/predict", {"rows": []}, 404, ["digit", "did you mean 'digits'", "sizes"]),
    ("/nothing/predict", {"rows": []}, 404, ["nothing", "digits, sizes"]),
    ("/digits/predict/more", {"rows": []}, 404, ["/docs"]),
    ("/digits", {"rows": []}, 405, ["POST", "GET"]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD)
def test_bad_requests_get_one_clear_message(endpoint, path, body, status, words):
    response = post(endpoint, path, body)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "request_id"}
    message = response.json()["error"]
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message
    assert "Traceback" not in message


def test_what_is_unusual_is_answered_and_counted_in_the_log(endpoint, caplog):
    plain = post(endpoint, "/sizes/predict", good()).json()["predictions"]
    with caplog.at_level("WARNING", "ray.serve"):
        extra = post(
            endpoint, "/sizes/predict", {"rows": [{"age": 0.5, "colour": "red", "half \ud800": 1, "weight": 2}]}
        )
        assert extra.json()["predictions"] == plain
        assert set(extra.json()) == {"version", "request_id", "predictions"}
        odd = [{"age": None, "colour": None}, {"age": 9e9, "colour": "secret"}]
        response = post(endpoint, "/sizes/predict", {"rows": odd})
    assert response.status_code == 200
    assert len(response.json()["predictions"]) == 2
    (line,) = [record.getMessage() for record in caplog.records]  # the next may come in a minute
    assert line == "sizes v3.0.0: 2 fields, which the model does not read, were ignored: half ?, weight"
    found = {
        (one.column, one.what.partition(" ")[0]): one.values
        for one in endpoint.served["sizes"].unusual.findings.values()
    }
    assert found == {("age", "missing"): 1, ("age", "outside"): 1, ("colour", "missing"): 1, ("colour", "never"): 1}
    endpoint.served["sizes"]._next_log = 0.0
    with caplog.at_level("WARNING", "ray.serve"):
        post(endpoint, "/sizes/predict", good())
    assert "colour: 1 of 3 values was never seen; " in caplog.records[-1].getMessage() + "; "
    assert "secret" not in caplog.text


def test_other_methods_types_and_encodings_are_refused(endpoint):
    get, text, zipped, damaged, cut = ask(
        endpoint,
        ("GET", "/digits/predict", {}),
        ("POST", "/digits/predict", {"content": "{}", "headers": {"content-type": "text/plain"}}),
        ("POST", "/digits/predict", {"content": "{}", "headers": {**JSON, "content-encoding": "br"}}),
        ("POST", "/digits/predict", {"content": "{}", "headers": GZIP}),
        ("POST", "/digits/predict", {"content": gzip.compress(b"{}")[:-3], "headers": GZIP}),
    )
    assert (get.status_code, get.headers["allow"]) == (405, "POST")
    assert (text.status_code, zipped.status_code) == (415, 415)
    assert "application/json" in text.json()["error"]
    assert (damaged.status_code, cut.status_code) == (400, 400)


def test_a_compressed_body_is_unpacked_up_to_the_limit(endpoint):
    body = json.dumps({"rows": [row(endpoint)]}).encode()
    plain = post(endpoint, "/digits/predict", body).json()["predictions"]
    for coding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        answer = post(endpoint, "/digits/predict", packed, {**JSON, "content-encoding": coding})
        assert answer.json()["predictions"] == plain
    bomb = gzip.compress(b" " * 100 * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = post(endpoint, "/digits/predict", bomb, GZIP)
    assert (answer.status_code, "20000 bytes" in answer.text) == (413, True)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 50 * 2**20
    assert endpoint.bodies.held_bytes == 0


def test_an_address_may_name_the_version(endpoint):
    body = {"rows": [row(endpoint)]}
    right, wrong = (post(endpoint, f"/digits/{version}/predict", body) for version in ("v1.0.0", "v7.0.0"))
    assert right.json()["predictions"] == post(endpoint, "/digits/predict", body).json()["predictions"]
    assert wrong.status_code == 404
    assert wrong.json()["error"] == "digits v7.0.0 is not served; v1.0.0 is"


def test_a_body_without_length_is_cut_off_at_the_limit(endpoint):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1000
            yield b" " * 1000

    (response,) = ask(endpoint, ("POST", "/digits/predict", {"content": endless(), "headers": JSON}))
    assert response.status_code == 413
    assert sent <= 25_000


def test_a_full_queue_says_when_to_come_again(endpoint):
    body = {"content": json.dumps({"rows": [row(endpoint)] * 15}), "headers": JSON}
    responses = ask(endpoint, *[("POST", "/digits/predict", body)] * 5)
    assert sorted(response.status_code for response in responses) == [200, 200, 429, 429, 429]
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.headers["retry-after"] == "1"


def test_a_new_version_takes_over_and_a_broken_one_does_not(endpoint, entries, tmp_path):
    old, new = entries["digits"]
    body = {"rows": [row(endpoint)]}
    asyncio.run(endpoint.reconfigure(config(digits=new)))
    assert post(endpoint, "/digits/predict", body).json()["version"] == "v2.0.0"
    assert post(endpoint, "/sizes/predict", good()).status_code == 404
    (tmp_path / "model.json").write_text("{}")
    asyncio.run(endpoint.reconfigure(config(digits={**old, "path": str(tmp_path), "version": "v3.0.0"})))
    assert "model.json" in endpoint.failures["digits"]
    assert post(endpoint, "/digits/predict", body).json()["version"] == "v2.0.0"


def test_a_request_under_way_is_answered_whole_by_the_version_it_met(endpoint, entries):
    body = json.dumps({"rows": [row(endpoint)]})
    expected = post(endpoint, "/digits/predict", body).json()["predictions"]

    async def slowly():
        yield body[:20].encode()
        await endpoint.reconfigure(config(digits=entries["digits"][1]))
        yield body[20:].encode()

    (response,) = ask(endpoint, ("POST", "/digits/predict", {"content": slowly(), "headers": JSON}))
    assert response.json()["version"] == "v1.0.0"
    assert response.json()["predictions"] == expected
    assert endpoint.served["digits"].version == "v2.0.0"


def test_health_cards_and_documentation(endpoint):
    paths = ["/", "/healthz", "/digits", "/openapi.json", "/docs"]
    root, health, card, openapi, docs = ask(endpoint, *(("GET", path, {}) for path in paths))
    assert root.json()["pipelines"]["digits"] == "/digits/predict"
    assert health.json()["pipelines"] == {"digits": "v1.0.0", "sizes": "v3.0.0"}
    assert card.json()["row"]["properties"]["image"]["maxItems"] == 4
    assert card.json()["scores"] == {"accuracy": 0.1}
    schema = openapi.json()["paths"]["/digits/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert post(endpoint, "/digits/predict", schema["example"]).status_code == 200
    answers = [openapi.json()["paths"][f"/{name}/predict"]["post"]["responses"]["200"] for name in ("digits", "sizes")]
    digits, sizes = (
        answer["content"]["application/json"]["schema"]["properties"]["predictions"]["items"]["properties"]
        for answer in answers
    )
    assert digits["probabilities"] == {"type": "object", "additionalProperties": {"type": "number"}}
    assert sizes["prediction"] == {"type": "string"}
    assert "curl http://here/digits/predict" in docs.text
    assert "src=" not in docs.text
    assert "<script" not in docs.text


def test_documents_are_rendered_once_for_each_set_of_versions(endpoint, entries, monkeypatch):
    rendered = []
    monkeypatch.setattr(
        openapi, "build_document", lambda served, build=openapi.build_document: rendered.append(1) or build(served)
    )
    first, again, local = ask(
        endpoint, ("GET", "/docs", {}), ("GET", "/docs", {}), ("GET", "/docs", {"headers": {"host": "localhost:81"}})
    )
    assert first.text == again.text
    assert "curl http://localhost:81/digits/predict" in local.text
    assert len(rendered) == 1
    asyncio.run(endpoint.reconfigure(config(digits=entries["digits"][1])))
    assert "v2.0.0" in ask(endpoint, ("GET", "/docs", {}))[0].text
    assert len(rendered) == 2


def test_how_a_version_is_served_does_not_depend_on_how_busy_the_machine_is(endpoint, entries, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))  # others have the processor
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    assert loaded_version.LoadedVersion(entries["digits"][0]).is_quick


def test_nothing_loaded_is_unhealthy():
    (response,) = ask(Endpoint(), ("GET", "/healthz", {"headers": {"host": "localhost"}}))
    assert response.status_code == 503


@pytest.mark.parametrize("threads", [False, True])
def test_batches_join_what_waits_and_keep_errors_apart(threads):
    from concurrent.futures import ThreadPoolExecutor

    sizes = []

    def predict(table):
        sizes.append(table.num_rows)
        values = table.column("x").to_pylist()
        if 13 in values:
            raise ArithmeticError("13")
        return [{"prediction": value * 2} for value in values]

    async def run():
        executor = ThreadPoolExecutor(1) if threads else None
        batcher = Batcher(predict, max_rows=6, max_waiting=100, executor=executor)
        tables = [pa.table({"x": [number, number + 1]}) for number in range(0, 20, 2)]
        return await asyncio.gather(*(batcher(table) for table in tables), return_exceptions=True)

    outcomes = asyncio.run(run())
    assert sizes[:2] == [6, 6]
    assert outcomes[3] == [{"prediction": 12}, {"prediction": 14}]
    assert [type(one) for one in outcomes].count(ArithmeticError) == 1
    assert isinstance(outcomes[6], ArithmeticError)


def test_the_queue_has_an_end():
    async def run():
        batcher = Batcher(lambda table: [{}] * table.num_rows, max_rows=6, max_waiting=3)
        with pytest.raises(QueueFullError):
            await batcher(pa.table({"x": range(4)}))

    asyncio.run(run())
