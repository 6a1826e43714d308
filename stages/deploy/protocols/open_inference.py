"""The Open Inference Protocol, version 2, over REST, with the extension for binary tensors.

https://github.com/kserve/open-inference-protocol. Each column of a row is one tensor; the answers are those of the
columns that `evergreen predict` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import suggest
from evergreen.stages.deploy.request_body import JSON, RequestError, check_count, check_type, parse_object
from evergreen.stages.deploy.responses import json_response

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.loaded_version import LoadedVersion, Parsed
    from evergreen.stages.deploy.protocols import Call

BINARY = "application/octet-stream"
JSON_LENGTH = "inference-header-content-length"  # bytes of JSON before those of tensors
SHAPE = 'send {"inputs": [{"name": …, "shape": [rows, …], "datatype": …, "data": […]}, …]}'


async def show_server(endpoint: Endpoint, call: Call) -> Response:
    """Describe the server."""
    from importlib.metadata import version

    value = {"name": "evergreen", "version": version("evergreen"), "extensions": ["binary_tensor_data"]}
    return json_response(value)


async def tell_live(endpoint: Endpoint, call: Call) -> Response:
    """Say that the process answers."""
    return json_response({"live": True})


async def tell_ready(endpoint: Endpoint, call: Call) -> Response:
    """Say whether a model is served."""
    return json_response({"ready": bool(endpoint.served)}, 200 if endpoint.served else 503)


async def tell_model_ready(endpoint: Endpoint, call: Call) -> Response:
    """Say that a version of a model is served."""
    served = _find(endpoint, call)
    return json_response({"name": call.names["pipeline"], "version": served.version, "ready": True})


async def show_model(endpoint: Endpoint, call: Call) -> Response:
    """Describe the tensors of a model."""
    from evergreen.stages.deploy.tensors import describe_field

    served = _find(endpoint, call)
    inputs = [describe_field(name, schema) for name, schema in served.schema["properties"].items()]
    about = {"name": call.names["pipeline"], "versions": [served.version], "platform": "evergreen"}
    return json_response({**about, "inputs": inputs, "outputs": _describe_outputs(served)})


async def infer(endpoint: Endpoint, call: Call) -> Response:
    """Answer tensors with tensors."""
    check_type(call.headers, (JSON, BINARY, ""))
    name, served = call.names["pipeline"], _find(endpoint, call)
    asked = Inference(served, call.headers.get(JSON_LENGTH, ""))
    answers = await endpoint.predict(call, name, served, asked.parse)
    return asked.respond(name, call.request_id, answers)


@dataclass
class Inference:
    """One request: what its JSON says about tensors in and out."""

    served: LoadedVersion
    json_length: str  # as the header has it; "" where JSON is all
    request: Mapping[str, Any] = field(default_factory=dict)

    def parse(self, body: bytearray) -> Parsed:
        """Parse and check the tensors of a body. Raises RequestError and DataError."""
        length = self.json_length or str(len(body))
        if not length.isdecimal() or int(length[:20]) > len(body):
            raise RequestError(400, f"the header {JSON_LENGTH} is {length:.20}", fix="send the length of the JSON")
        head, tail = bytes(body[: int(length)]), memoryview(bytes(body[int(length) :]))
        self.request = parse_object(head, self.served.limits, SHAPE)
        if asked := _objects(self.request, "outputs"):
            outputs = [one["name"] for one in _describe_outputs(self.served)]
            if unknown := [name for one in asked if (name := str(one.get("name"))) not in outputs]:
                raise RequestError(
                    422, f"there is no output {unknown[0]:.80}", fix=suggest(unknown[0], outputs, "outputs")
                )
        columns = self._read_inputs(tail)
        n_rows = len(next(iter(columns.values()), ()))
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        check_count(n_rows, self.served.limits)
        return self.served.read_rows(rows)

    def _read_inputs(self, tail: memoryview) -> dict[str, list[Any]]:
        """Return the values of each tensor, one a row. Raises RequestError where they differ in number."""
        from evergreen.stages.deploy.tensors import read_tensor

        inputs = _objects(self.request, "inputs")
        if not inputs:
            raise RequestError(422, "there are no inputs", fix=SHAPE)
        columns: dict[str, list[Any]] = {}
        start = 0
        for entry in inputs:
            data, size = None, _parameters(entry).get("binary_data_size")
            if size is not None:
                if type(size) is not int or not 0 <= size <= len(tail) - start:
                    raise RequestError(422, f"binary_data_size is {size!r:.20}", fix="send the bytes of each tensor")
                data, start = tail[start : start + size], start + size
            name = str(entry.get("name"))
            columns[name] = read_tensor(entry, data, self.served.schema["properties"].get(name, {}))
            if len(columns[name]) != len(next(iter(columns.values()))):
                raise RequestError(422, f"the input {name:.80} has another number of rows", fix="send one of each row")
        if start != len(tail):
            raise RequestError(
                422, f"{len(tail) - start} bytes belong to no tensor", fix="name each in binary_data_size"
            )
        return columns

    def respond(self, name: str, request_id: str, answers: list[dict[str, Any]]) -> Response:
        """Return the answers as tensors, those in bytes for which that is asked."""
        from starlette.responses import Response

        from evergreen.stages.answer_table import answer_columns
        from evergreen.stages.deploy.tensors import write_tensor

        columns = answer_columns(answers)
        wanted = _objects(self.request, "outputs") or [{"name": one} for one in columns]
        by_default = bool(_parameters(self.request).get("binary_data_output", False))
        pairs = [
            write_tensor(
                one["name"], columns[one["name"]], is_binary=bool(_parameters(one).get("binary_data", by_default))
            )
            for one in wanted
        ]
        given = self.request.get("id")
        value = {
            "model_name": name,
            "model_version": self.served.version,
            "id": given if isinstance(given, str) else request_id,
            "outputs": [entry for entry, _ in pairs],
        }
        response, tail = json_response(value), b"".join(data for _, data in pairs)
        if not tail:
            return response
        return Response(bytes(response.body) + tail, media_type=BINARY, headers={JSON_LENGTH: str(len(response.body))})


def _find(endpoint: Endpoint, call: Call) -> LoadedVersion:
    return endpoint.find(call.names["pipeline"], call.names.get("version", ""))


def _describe_outputs(served: LoadedVersion) -> list[dict[str, Any]]:
    """Describe the tensors of an answer by that to the example row."""
    from evergreen.stages.answer_table import answer_columns
    from evergreen.stages.deploy.tensors import to_tensor

    columns = answer_columns([served.example_answer]) if served.example_answer else {}
    tensors = {name: to_tensor(column) for name, column in columns.items()}
    return [{"name": name, "datatype": kind, "shape": [-1, *one.shape[1:]]} for name, (kind, one) in tensors.items()]


def _objects(value: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = value.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise RequestError(422, f"{key} is not a list of objects", fix=SHAPE)
    return found


def _parameters(value: Mapping[str, Any]) -> Mapping[str, Any]:
    found = value.get("parameters")
    return found if isinstance(found, dict) else {}


MODEL = "/v2/models/{pipeline}"
OF_MODEL = {"": {"GET": show_model}, "/ready": {"GET": tell_model_ready}, "/infer": {"POST": infer}}
SPLIT = (f"{MODEL}/infer",)
OPEN = ("/v2/health/live", "/v2/health/ready")
ROUTES = {
    "/v2": {"GET": show_server},
    "/v2/health/live": {"GET": tell_live},
    "/v2/health/ready": {"GET": tell_ready},
    **{f"{MODEL}{ending}": methods for ending, methods in OF_MODEL.items()},
    **{f"{MODEL}/versions/{{version}}{ending}": methods for ending, methods in OF_MODEL.items()},
}
