"""Spans of requests reach a collector of OpenTelemetry, and nothing waits for one that does not answer."""

import asyncio
import gzip
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError, UserError
from evergreen.stages.deploy import tracing
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint

PARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


@pytest.fixture
def collector():
    """A collector over HTTP; `requests` are the messages that it took, `headers` those of the last one."""
    messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    pytest.importorskip(tracing.EXPORTER)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            server.headers = dict(self.headers)
            server.requests.append((self.path, messages.ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.headers = [], {}
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def entry(tmp_path, random_model):
    random_model("sizes", tmp_path, 1)
    return {"version": "v1.0.0", "path": str(tmp_path), "limits": {}}


def serve(entry, traces=""):
    made = Endpoint()
    config = {"revision": "1", "hosts": ["here"], "traces": traces, "pipelines": {"sizes": entry}}
    asyncio.run(made.reconfigure(config))
    assert not made.failures
    return made


def ask(endpoint, *requests):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return [await client.request(method, path, **more) for method, path, more in requests]

    return asyncio.run(send())


def attributes(span):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


ROW = {"age": 0.5, "colour": "red"}
REQUESTS = [
    ("POST", "/sizes/predict", {"json": ROW, "headers": {"traceparent": PARENT, "x-request-id": "mine"}}),
    ("POST", "/sizes/v1.0.0/predict", {"json": {"age": 1}}),
    ("GET", "/nowhere/at/all", {}),
    ("GET", "/healthz", {}),
]


@pytest.mark.slow
def test_a_collector_gets_a_span_of_each_request(collector, entry, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    endpoint = serve(entry, collector.url)
    answers = ask(endpoint, *REQUESTS)
    assert [answer.status_code for answer in answers] == [200, 422, 404, 200]
    endpoint.spans.close()
    assert {path for path, _ in collector.requests} == {"/v1/traces"}
    assert collector.headers["x-tenant"] == "blue"
    (resource,) = [one for _, message in collector.requests for one in message.resource_spans]
    about = attributes(resource.resource)
    assert (about["service.name"], about["deployment.environment"]) == ("evergreen", "test")
    first, second, third = [span for scope in resource.scope_spans for span in scope.spans]
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == ("ab" * 16, "cd" * 8)
    assert answers[0].headers["traceparent"] == f"00-{'ab' * 16}-{first.span_id.hex()}-01"
    own = f"00-{second.trace_id.hex()}-{second.span_id.hex()}-"
    assert answers[1].headers["traceparent"][:-2] == own
    assert not second.parent_span_id
    assert [one.name for one in (first, second, third)] == [
        *("POST /{pipeline}/predict", "POST /{pipeline}/{version}/predict", "GET")
    ]
    wanted = {"evergreen.pipeline": "sizes", "evergreen.version": "v1.0.0", "evergreen.role": "production"}
    wanted |= {"http.response.status_code": 200, "evergreen.request_id": "mine", "url.path": "/sizes/predict"}
    assert attributes(first).items() >= wanted.items()
    assert attributes(second)["http.response.status_code"] == 422
    assert 0 < first.end_time_unix_nano - first.start_time_unix_nano < 60e9
    figures = ask(endpoint, ("GET", "/metrics", {}))[0].text
    assert 'evergreen_spans_total{outcome="sent"' in figures


@pytest.mark.slow
def test_the_variables_of_opentelemetry_ask_for_it_as_well(collector, entry, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    endpoint = serve(entry)
    ask(endpoint, *REQUESTS)
    endpoint.spans.close()
    spans = [s for _, message in collector.requests for r in message.resource_spans for s in r.scope_spans]
    assert [one.name for scope in spans for one in scope.spans] == ["POST /{pipeline}/predict"]  # its parent asks
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert serve(entry).spans is None


@pytest.mark.slow
def test_a_collector_that_is_down_changes_no_answer(entry, caplog):
    pytest.importorskip(tracing.EXPORTER)
    plain, traced = serve(entry), serve(entry, "http://127.0.0.1:9")
    assert plain.spans is None
    answers = [[(one.status_code, one.json().get("predictions")) for one in ask(e, *REQUESTS)] for e in (plain, traced)]
    assert answers[0] == answers[1]
    with caplog.at_level("WARNING"):
        traced.spans._note(3, is_sent=False)
        traced.spans._note(4, is_sent=False)
    assert [record.getMessage() for record in caplog.records] == ["3 spans could not be sent to the collector so far"]
    start = time.monotonic()
    traced.spans.close()
    assert time.monotonic() - start < 20


def test_a_setting_that_goes_ends_it(collector, entry):
    endpoint = serve(entry, collector.url)
    spans = endpoint.spans
    config = {"hosts": ["here"], "pipelines": {"sizes": entry}}
    asyncio.run(endpoint.reconfigure(config | {"revision": "2", "traces": collector.url}))
    assert endpoint.spans is spans
    asyncio.run(endpoint.reconfigure(config | {"revision": "3"}))
    assert endpoint.spans is None


def test_what_is_not_installed_is_said_with_the_fix(entry, monkeypatch, caplog):
    monkeypatch.setattr(tracing, "EXPORTER", "opentelemetry.nothing.at_all")
    with pytest.raises(PipelineError, match="evergreen\\[otel\\]"):
        tracing.checked("http://127.0.0.1:4318")
    assert tracing.checked("") == ""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert serve(entry).spans is None
    assert "evergreen[otel]" in caplog.text
    with pytest.raises(UserError, match="traces"):
        build(DeployConfig, {"traces": "127.0.0.1:4318"}, "deploy")


@pytest.mark.slow
def test_a_version_beside_production_adds_a_span_of_its_own(collector, entry):
    process = {"name": "sizes", "entry": {**entry, "version": "v2.0.0"}, "role": "canary", "home": ""}
    process |= {"traces": collector.url, "max_bytes": 2**30, "max_seconds": 60.0}
    rollout = {"version": "v2.0.0", "role": "canary", "share": 1.0, "pins": {}, "processes": {"v2.0.0": process}}
    config = {"revision": "1", "hosts": ["here"], "traces": collector.url, "pipelines": {"sizes": entry}}

    async def send():
        endpoint = Endpoint()
        await endpoint.reconfigure(config | {"rollouts": {"sizes": rollout}})
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.post("/sizes/predict", json=ROW)
        await endpoint.reconfigure(config | {"revision": "2"})  # ends the process
        endpoint.spans.close()
        return answer

    assert asyncio.run(send()).json()["version"] == "v2.0.0"
    spans = [s for _, m in collector.requests for r in m.resource_spans for scope in r.scope_spans for s in scope.spans]
    (outer,) = [one for one in spans if not one.parent_span_id]
    (inner,) = [one for one in spans if one.parent_span_id == outer.span_id]
    for one in (outer, inner):
        told = attributes(one)
        assert (told["evergreen.version"], told["evergreen.role"]) == ("v2.0.0", "canary")


@pytest.mark.slow
def test_where_nothing_asks_for_it_nothing_is_imported(entry):
    code = f"""
import asyncio, sys
from evergreen.stages.deploy.endpoint import Endpoint
asyncio.run(Endpoint().reconfigure({{"revision": "1", "pipelines": {{"sizes": {entry!r}}}}}))
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
