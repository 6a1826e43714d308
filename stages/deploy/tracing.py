"""Send a span of each request to a collector of OpenTelemetry, by OTLP over HTTP.

The variables of OpenTelemetry (OTEL_EXPORTER_OTLP_ENDPOINT and others) or `traces` in the section deploy ask for it;
otherwise nothing is imported. A thread sends what has ended: no request waits for a collector, and what finds no room
or nobody is lost.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from evergreen.stages.deploy.counters import Who
    from evergreen.stages.deploy.protocols import Call

ADDRESSES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")  # of W3C's Trace Context
EXPORTER = "opentelemetry.exporter.otlp.proto.http"  # what the extra `otel` brings
INSTALL = "pip install 'evergreen[otel]'"
UNTRACED = ("/healthz", "/livez", "/metrics")
CLOSE_SECONDS = 2.0  # to send the last spans
LOG, LOG_SECONDS = logging.getLogger("ray.serve"), 60.0  # at most one line in so long a time says what is wrong


def continue_trace(parent: str) -> str:
    """Return a `traceparent` of the same trace for an answer; "" where the request has none."""
    match = PARENT.fullmatch(parent)
    return f"00-{match[1]}-{secrets.token_hex(8)}-{match[2]}" if match else ""


def checked(address: str) -> str:
    """Return the address. Raises PipelineError where spans are to be sent there, and what sends them is not here."""
    if address and not _is_installed():
        raise PipelineError("the exporter of OpenTelemetry is not installed", place="deploy.traces", fix=INSTALL)
    return address


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec(EXPORTER) is not None
    except ModuleNotFoundError:
        return False


def follow_setting(spans: Spans | None, address: str, replica: str) -> Spans | None:
    """Return what sends spans to `address`, or to where the environment says; None where neither says so."""
    if spans and spans.address == address:
        return spans
    if spans:
        spans.close()
    is_wanted = address or any(os.environ.get(name) for name in ADDRESSES)
    if not is_wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if _is_installed():
        return Spans(address, replica)
    LOG.warning("no spans are sent; to send them, %s", INSTALL)
    return None


class Spans:
    """Make the spans of a replica, and send them."""

    def __init__(self, address: str, replica: str) -> None:
        from importlib.metadata import version

        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        spans = self

        class CountingExporter(OTLPSpanExporter):
            def export(self, some: Any) -> SpanExportResult:
                result = super().export(some)
                spans._note(len(some), is_sent=result is SpanExportResult.SUCCESS)
                return result

        self.address, self.n_sent, self.n_lost, self._next_log = address, 0, 0, 0.0
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it would write each time that nobody answers
        name = os.environ.get("OTEL_SERVICE_NAME", "evergreen")
        about = {"service.name": name, "service.version": version("evergreen"), "service.instance.id": replica}
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        exporter = CountingExporter(f"{address.rstrip('/')}/v1/traces" if address else None)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer, self._context = self._provider.get_tracer("evergreen"), TraceContextTextMapPropagator()
        atexit.register(self.close)

    def begin(self, call: Call) -> Span | None:
        """Begin the span of a request, and let its answer name it."""
        from opentelemetry.trace import SpanKind

        if call.request.scope["path"] in UNTRACED:
            return None
        parent = self._context.extract({k: call.headers[k] for k in ("traceparent", "tracestate") if k in call.headers})
        span = self._tracer.start_span(call.request.method, parent, SpanKind.SERVER)
        context = span.get_span_context()
        call.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        return span

    def close(self) -> None:
        """Send what has ended, if that is quick."""
        atexit.unregister(self.close)
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(CLOSE_SECONDS)

    def _note(self, n_spans: int, *, is_sent: bool) -> None:
        if is_sent:
            self.n_sent += n_spans
            return
        self.n_lost += n_spans
        if time.monotonic() > self._next_log:
            self._next_log = time.monotonic() + LOG_SECONDS
            LOG.warning("%d spans could not be sent to the collector so far", self.n_lost)


def end_span(span: Span | None, call: Call, status: int, who: Who) -> None:
    """End the span of a request, if there is one, with what became of it."""
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    method, path = call.request.method, call.request.scope["path"]
    span.set_attributes({"http.request.method": method, "url.path": path, "http.response.status_code": status})
    span.set_attribute("evergreen.request_id", call.request_id)
    if who[0]:
        route = _to_route(path, call.names)
        span.update_name(f"{method} {route}")
        of_pipeline = dict(zip(("pipeline", "version", "role"), who, strict=True))
        span.set_attributes({"http.route": route, **{f"evergreen.{key}": one for key, one in of_pipeline.items()}})
    if status >= 500:
        span.set_status(StatusCode.ERROR)
    span.end()


def _to_route(path: str, names: Mapping[str, str]) -> str:
    """Return a path with the names of what it names in the place of that."""
    for name, word in names.items():
        path = path.replace(f"/{word}", f"/{{{name}}}", 1)
    return path
