"""The Open Inference Protocol over gRPC: each call is asked of the endpoint as its twin over REST, and so checked.

The replicas of a machine listen on one port of loopback, among which the kernel deals connections (SO_REUSEPORT). Ray
Serve's own gRPC proxy listens on every interface, and hands each request to a replica as an actor's call.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from evergreen.stages.deploy.protocols.open_inference import BINARY, JSON_LENGTH, MODEL
from evergreen.stages.deploy.request_body import JSON
from evergreen.stages.deploy.tensors import TEXT
from evergreen.stages.deploy.v2_messages import SERVICE, messages

if TYPE_CHECKING:
    from grpc.aio import Server, ServicerContext

    from evergreen.stages.deploy.endpoint import Endpoint

STOP_SECONDS = 5.0  # in which calls under way may end
MAX_CALLS = 1024  # at once; what they may hold is the endpoint's to say
OVERHEAD_BYTES = 2**20  # of a message beside its tensors
PASSED_ON = {"authorization", "x-api-key", "x-request-id", "traceparent"}  # metadata that are headers
CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"} | {
    408: "DEADLINE_EXCEEDED", 413: "RESOURCE_EXHAUSTED", 422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED"
}  # fmt: skip
CONTENTS = {"BOOL": "bool", "INT64": "int64", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64"} | {
    f"{sign.upper()}INT{bits}": f"{sign}int" for sign in ("", "u") for bits in (8, 16, 32)
}  # datatype → of the fields of InferTensorContents
Answer = tuple[int, Mapping[str, str], bytes]  # status, headers, body


class Listener:
    """Listen for gRPC where the endpoint is told to; nowhere at first."""

    def __init__(self) -> None:
        self.revision = ""  # of the endpoint's configuration that was followed
        self._server: Server | None = None
        self._way: tuple[str, int] = ("", 0)

    async def follow(self, endpoint: Endpoint) -> None:
        """Listen as the endpoint's configuration says now; call it in the loop in which requests are answered."""
        self.revision = endpoint.revision
        most = max((int(one.limits["max_body_bytes"]) for one in endpoint.served.values()), default=0)
        way = (endpoint.grpc_address, most)
        if way == self._way:
            return
        self._way, before, self._server = way, self._server, None
        if before:
            await before.stop(STOP_SECONDS)
        try:
            self._server = await listen(endpoint, *way) if way[0] else None
        except RuntimeError as error:  # raised, it would fail a request over HTTP
            logging.getLogger("ray.serve").error("nothing listens for gRPC at %s: %s", way[0], error)


async def listen(endpoint: Endpoint, address: str, max_body_bytes: int) -> Server:
    """Listen at an address, "host:port". Raises RuntimeError where that cannot be."""
    import grpc.aio

    options = [("grpc.so_reuseport", 1), ("grpc.max_receive_message_length", max_body_bytes + OVERHEAD_BYTES)]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_CALLS)
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _bind(endpoint, handler),
            request_deserializer=messages()[f"{name}Request"].FromString,
            response_serializer=messages()[f"{name}Response"].SerializeToString,
        )
        for name, handler in HANDLERS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)
    await server.start()
    return server


Ask = Callable[..., Awaitable[Answer]]
Handler = Callable[[Ask, Any], Awaitable[Any]]


class _RefusedError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _bind(endpoint: Endpoint, handler: Handler) -> Callable[[Any, ServicerContext[Any, Any]], Awaitable[Any]]:
    async def answer(request: Any, context: ServicerContext[Any, Any]) -> Any:
        import grpc

        metadata = context.invocation_metadata() or ()
        headers = {str(key): str(value) for key, value in metadata if key in PASSED_ON}

        async def ask(path: str, body: bytes | None = None, **more: str) -> Answer:
            named = headers | {name.replace("_", "-"): value for name, value in more.items()}
            return await _ask(endpoint, path, body, named)

        try:
            return await handler(ask, request)
        except _RefusedError as error:
            code = getattr(grpc.StatusCode, CODES.get(error.status, "INTERNAL"))
            await context.abort(code, str(error))

    return answer


async def _ask(endpoint: Endpoint, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    """Ask the endpoint as a server of HTTP asks it."""
    sent: list[Any] = []
    waiting = [{"type": "http.request", "body": body or b"", "more_body": False}]

    async def receive() -> Any:
        return waiting.pop() if waiting else await asyncio.Event().wait()  # who leaves is cancelled

    async def send(message: Any) -> None:
        sent.append(message)

    named = {"host": "localhost", **headers, "content-length": str(len(body or b""))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "2",
        "scheme": "http",
        "method": "GET" if body is None else "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    await endpoint.asgi(scope, receive, send, is_direct=True)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:])


def _read(answer: Answer) -> Any:
    """Return the JSON of an answer. Raises _RefusedError with the words of a refusal."""
    status, headers, body = answer
    value = json.loads(body[: int(headers.get(JSON_LENGTH, len(body)))])
    if status >= 400:
        raise _RefusedError(status, value.get("error", ""))
    return value


def _path(name: str, version: str, ending: str = "") -> str:
    of_model = MODEL.format(pipeline=quote(name, safe=""))
    return of_model + (f"/versions/{quote(version, safe='')}" if version else "") + ending


async def _tell_live(ask: Ask, _: Any) -> Any:
    return messages()["ServerLiveResponse"](live=(await ask("/v2/health/live"))[0] == 200)


async def _tell_ready(ask: Ask, _: Any) -> Any:
    return messages()["ServerReadyResponse"](ready=(await ask("/v2/health/ready"))[0] == 200)


async def _tell_model_ready(ask: Ask, request: Any) -> Any:
    answer = await ask(_path(request.name, request.version, "/ready"))
    return messages()["ModelReadyResponse"](ready=answer[0] != 404 and bool(_read(answer)))


async def _show_server(ask: Ask, _: Any) -> Any:
    return messages()["ServerMetadataResponse"](**_read(await ask("/v2")))


async def _show_model(ask: Ask, request: Any) -> Any:
    return messages()["ModelMetadataResponse"](**_read(await ask(_path(request.name, request.version))))


async def _infer(ask: Ask, request: Any) -> Any:
    head, tail = _write_request(request)
    path = _path(request.model_name, request.model_version, "/infer")
    length = {JSON_LENGTH.replace("-", "_"): str(len(head))}
    answer = await ask(path, head + tail, content_type=BINARY if tail else JSON, **length)
    value, data = _read(answer), answer[2][int(answer[1].get(JSON_LENGTH, len(answer[2]))) :]
    outputs, raw = [], []
    for entry in value["outputs"]:
        size = entry.pop("parameters")["binary_data_size"]
        raw.append(data[:size])
        data = data[size:]
        outputs.append(entry)
    return messages()["ModelInferResponse"](**value | {"outputs": outputs, "raw_output_contents": raw})


def _write_request(request: Any) -> tuple[bytes, bytes]:
    """Return the JSON and the bytes behind it that say over REST what a request says."""
    raw, inputs, tail = request.raw_input_contents, [], []
    if raw and len(raw) != len(request.inputs):
        raise _RefusedError(
            422, f"there are the bytes of {len(raw)} tensors for {len(request.inputs)} inputs; send all"
        )
    for place, tensor in enumerate(request.inputs):
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": [*tensor.shape]}
        if raw or tensor.datatype == TEXT:
            texts = tensor.contents.bytes_contents
            data = raw[place] if raw else b"".join(struct.pack("<I", len(text)) + text for text in texts)
            entry["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            entry["data"] = [*getattr(tensor.contents, f"{CONTENTS.get(tensor.datatype, 'fp32')}_contents")]
        inputs.append(entry)
    value: dict[str, Any] = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    value |= {"id": request.id} if request.id else {}
    value |= {"outputs": [{"name": one.name} for one in request.outputs]} if request.outputs else {}
    return json.dumps(value).encode(), b"".join(tail)


HANDLERS: Mapping[str, Handler] = {
    "ServerLive": _tell_live,
    "ServerReady": _tell_ready,
    "ModelReady": _tell_model_ready,
    "ServerMetadata": _show_server,
    "ModelMetadata": _show_model,
    "ModelInfer": _infer,
}
