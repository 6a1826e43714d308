"""The endpoint's figures for Prometheus, its liveness, and traces that pass through it."""

import asyncio
import json
import os
import re
import time

import httpx
import pytest

from evergreen.core.files import write_json
from evergreen.stages.deploy import counters
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint
from evergreen.stages.monitor.stage import list_samples

JSON = {"content-type": "application/json"}
LINE = re.compile(r'([a-z_]+)\{(([a-z]+="[^"\\\n]*",?)*)\} ([0-9.e+]+|nan|inf)')
ROW = {"age": 0.5, "colour": "red"}


@pytest.fixture
def start(tmp_path, random_model):
    random_model("sizes", tmp_path / "sizes", 1)

    def start(**more):
        limits = DeployConfig(max_rows=20, max_queue_rows=20).model_dump()
        entry = {"version": "v1.0.0", "path": str(tmp_path / "sizes"), "limits": limits}
        endpoint, home = Endpoint(), str(tmp_path / ".evergreen" / "requests")
        asyncio.run(endpoint.reconfigure({"revision": "1", "home": home, "pipelines": {"sizes": entry}, **more}))
        assert not endpoint.failures
        return endpoint

    return start


def ask(endpoint, method, path, body=None, **headers):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            named = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
            return await client.request(method, path, content=json.dumps(body) if body else None, headers=named)

    return asyncio.run(send())


def figures(endpoint):
    """{(name, labels but role and replica): value}."""
    response = ask(endpoint, "GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for line in response.text.splitlines():
        if not line.startswith("#"):
            name, labels, _, value = LINE.fullmatch(line).groups()
            told = dict(re.findall(r'([a-z]+)="([^"]*)"', labels))
            told.pop("role", None)
            replica = told.pop("replica")
            found.setdefault((name, tuple(told.values())), {})[replica] = float(value)
    return found


def test_requests_rows_and_seconds_are_counted_by_pipeline_version_and_status(start, monkeypatch):
    endpoint = start()
    for _ in range(3):
        assert ask(endpoint, "POST", "/sizes/predict", {"rows": [ROW] * 4}).status_code == 200
    assert ask(endpoint, "POST", "/sizes/predict", {"rows": [{}]}).status_code == 422
    assert ask(endpoint, "POST", "/sizes/predict", {"rows": [ROW] * 21}).status_code == 422
    for number in range(5):
        assert ask(endpoint, "POST", f"/made-up-{number}/predict", ROW).status_code == 404

    def fail(*_, **__):
        raise ArithmeticError

    with monkeypatch.context() as patch:
        patch.setattr(endpoint.served["sizes"].answer, "predict", fail)
        assert ask(endpoint, "POST", "/sizes/predict", ROW).status_code == 500
    found = {key: sum(values.values()) for key, values in figures(endpoint).items()}
    of = ("sizes", "v1.0.0")
    requests = {labels: value for (name, labels), value in found.items() if name == "evergreen_requests_total"}
    assert requests == {(*of, "200"): 3, (*of, "422"): 2, (*of, "500"): 1, ("", "404"): 5}
    assert found["evergreen_rows_total", of] == 12
    assert found["evergreen_batch_rows_bucket", (*of, "4")] == 3
    assert found["evergreen_batch_rows_bucket", (*of, "2")] == 0
    assert found["evergreen_request_seconds_count", of] == 6
    assert found["evergreen_request_seconds_bucket", (*of, "+Inf")] == 6
    assert found["evergreen_request_seconds_sum", of] > 0
    assert found["evergreen_queue_rows", of] == found["evergreen_body_bytes", ("memory",)] == 0
    assert found["evergreen_log_rows_total", ("dropped",)] == 0
    families = re.findall(r"^# TYPE (\S+) ", ask(endpoint, "GET", "/metrics").text, re.MULTILINE)
    others = {"drift", "columns_moved", "score_estimated", "score_true", "estimate_unsure"}  # not of this pipeline
    others |= {"first_piece_seconds", "rollout_requests_total", "spans_total"}
    assert set(families) == counters.FAMILIES.keys() - {f"evergreen_{name}" for name in others}


def test_one_replica_tells_the_figures_of_all(start):
    one, other, dead = start(), start(), start()
    ask(one, "POST", "/sizes/predict", ROW)
    for _ in range(2):
        ask(other, "POST", "/sizes/predict", ROW)
    for endpoint in (other, dead):
        counters.publish(endpoint, endpoint.home)
    path = one.home / "figures" / f"{dead.replica}.json"
    os.utime(path, (time.time() - 60,) * 2)
    (one.home / "figures" / "broken.json").write_text("{")
    found = figures(one)["evergreen_requests_total", ("sizes", "v1.0.0", "200")]
    assert found == {one.replica: 1, other.replica: 2}


def test_replicas_publish_their_figures_where_there_are_several(start):
    alone = start()

    async def wait():
        endpoint = Endpoint()
        config = {"revision": "1", "home": str(alone.home), "pipelines": {}}
        await endpoint.reconfigure(config | {"replicas": 2})
        path = endpoint.home / "figures" / f"{endpoint.replica}.json"
        async with asyncio.timeout(20):
            while not path.exists():
                await asyncio.sleep(0.01)
        return endpoint.publishing

    assert alone.publishing is None
    assert asyncio.run(wait())


def test_alive_is_not_ready():
    local = {"host": "localhost"}
    assert ask(Endpoint(), "GET", "/livez", **local).status_code == 200
    assert ask(Endpoint(), "GET", "/healthz", **local).status_code == 503


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        (f"00-{'ab' * 16}-{'cd' * 8}-01", True),
        (f"00-{'ab' * 16}-{'cd' * 8}-00", True),
        (f"00-{'AB' * 16}-{'cd' * 8}-01", False),
        (f"00-{'ab' * 16}-{'cd' * 8}", False),
        ("x", False),
    ],
)
def test_a_trace_goes_on_with_a_span_of_the_endpoint(start, given, passes):
    response = ask(start(), "POST", "/sizes/predict", ROW, traceparent=given)
    answer = response.headers.get("traceparent")
    if not passes:
        assert answer is None
        return
    version, trace, span, flags = answer.split("-")
    assert (version, trace, flags) == ("00", "ab" * 16, given[-2:])
    assert re.fullmatch(r"[0-9a-f]{16}", span)
    assert span != "cd" * 8
    assert "traceparent" not in ask(start(), "GET", "/livez").headers


def test_what_the_monitor_found_is_told_too(start, tmp_path):
    endpoint = start()
    latest = {"version": "v1.0.0", "drift": 0.25, "n_moved": 2, "metric": "accuracy", "true": None}
    latest["unsure"] = "not to be trusted"
    samples = list_samples("sizes", latest | {"estimated": {"mean": 0.91}})
    write_json(tmp_path / ".evergreen" / "monitor" / "sizes" / "figures.json", {"samples": samples}, sort=False)
    found = figures(endpoint)
    assert found["evergreen_drift", ("sizes", "v1.0.0")] == {"monitor": 0.25}
    assert found["evergreen_columns_moved", ("sizes", "v1.0.0")] == {"monitor": 2}
    assert found["evergreen_score_estimated", ("sizes", "v1.0.0", "accuracy")] == {"monitor": 0.91}
    assert "evergreen_score_true" not in {name for name, _ in found}
    (tmp_path / ".evergreen" / "monitor" / "sizes" / "figures.json").write_text("{")
    assert "evergreen_drift" not in {name for name, _ in figures(endpoint)}
