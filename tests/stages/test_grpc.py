"""The Open Inference Protocol over gRPC: the answers and checks that REST gives, at one port of loopback."""

import asyncio
import struct

import grpc
import httpx
import pytest

from evergreen.stages.deploy import api_keys
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.grpc_listener import listen
from evergreen.stages.deploy.v2_messages import SERVICE, messages

LIMITS = DeployConfig(max_rows=20, max_queue_rows=40, max_body_bytes=20_000).model_dump()
ROWS = [{"age": 0.5, "colour": "red"}, {"age": 0.25, "colour": "blue"}]


@pytest.fixture(scope="module")
def endpoint(serve_models):
    return serve_models(LIMITS)


def call(endpoint, method, metadata=(), **fields):
    """The response to one call over a real connection, or its error."""

    async def send():
        server = await listen(endpoint, "127.0.0.1:18911", 2**20)
        try:
            async with grpc.aio.insecure_channel("127.0.0.1:18911") as channel:
                ask = channel.unary_unary(
                    f"/{SERVICE}/{method}",
                    request_serializer=messages()[f"{method}Request"].SerializeToString,
                    response_deserializer=messages()[f"{method}Response"].FromString,
                )
                return await ask(messages()[f"{method}Request"](**fields), metadata=metadata, timeout=20)
        except grpc.aio.AioRpcError as error:
            return error
        finally:
            await server.stop(None)

    return asyncio.run(send())


def rest(endpoint, path, body=None):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await (client.get(path) if body is None else client.post(path, json=body))

    return asyncio.run(send()).json()


def tensors(**more):
    age = {"name": "age", "datatype": "FP64", "shape": [2], "contents": {"fp64_contents": [0.5, 0.25]}}
    colour = {"name": "colour", "datatype": "BYTES", "shape": [2], "contents": {"bytes_contents": [b"red", b"blue"]}}
    return {"model_name": "sizes", "id": "mine", "inputs": [age, colour], **more}


def test_health_and_metadata_are_those_of_rest(endpoint):
    assert call(endpoint, "ServerLive").live
    assert call(endpoint, "ServerReady").ready
    assert call(endpoint, "ModelReady", name="sizes", version="v1.0.0").ready
    assert not call(endpoint, "ModelReady", name="sizes", version="v2").ready
    assert call(endpoint, "ServerMetadata").name == "evergreen"
    model, wanted = call(endpoint, "ModelMetadata", name="sizes"), rest(endpoint, "/v2/models/sizes")
    shown = [{"name": one.name, "datatype": one.datatype, "shape": [*one.shape]} for one in model.inputs]
    assert (shown, [*model.versions]) == (wanted["inputs"], ["v1.0.0"])


def test_tensors_get_the_answers_of_rows(endpoint):
    answers = rest(endpoint, "/sizes/predict", {"rows": ROWS})["predictions"]
    raw = [struct.pack("<2d", 0.5, 0.25), b"".join(struct.pack("<I", len(one)) + one for one in (b"red", b"blue"))]
    bare = [{key: value for key, value in one.items() if key != "contents"} for one in tensors()["inputs"]]
    for fields in (tensors(), tensors(inputs=bare, raw_input_contents=raw)):
        answer = call(endpoint, "ModelInfer", **fields)
        data = dict(zip([one.name for one in answer.outputs], answer.raw_output_contents, strict=True))
        assert struct.unpack("<2d", data["p_small"]) == tuple(one["probabilities"]["small"] for one in answers)
        assert (
            data["prediction"][4:]
            == b"".join(struct.pack("<I", len(one["prediction"])) + one["prediction"].encode() for one in answers)[4:]
        )
        assert (answer.model_name, answer.model_version, answer.id) == ("sizes", "v1.0.0", "mine")
    some = call(endpoint, "ModelInfer", **tensors(outputs=[{"name": "p_large"}]))
    assert [one.name for one in some.outputs] == ["p_large"]


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        (tensors(model_name="size"), "NOT_FOUND", "did you mean 'sizes'"),
        (tensors(model_name="a/b"), "NOT_FOUND", "a%2Fb"),
        (tensors(inputs=[]), "INVALID_ARGUMENT", "no inputs"),
        (tensors(raw_input_contents=[b"1"]), "INVALID_ARGUMENT", "bytes of 1 tensors for 2 inputs"),
        (tensors(outputs=[{"name": "shoe"}]), "INVALID_ARGUMENT", "no output shoe"),
        (tensors(inputs=[tensors()["inputs"][0]]), "INVALID_ARGUMENT", "colour"),
        (tensors(id="x" * 19_900), "RESOURCE_EXHAUSTED", "20000 bytes"),
    ],
)
def test_what_rest_refuses_is_refused_with_its_words(endpoint, fields, code, says):
    error = call(endpoint, "ModelInfer", **fields)
    assert error.code().name == code
    assert says in error.details()
    assert "\n" not in error.details()


def test_keys_are_asked_for_as_over_http(serve_models, tmp_path):
    (tmp_path / ".evergreen").mkdir()
    secret = api_keys.add_key(tmp_path, "shop", pipelines=["digits"])
    home = tmp_path / ".evergreen" / "requests"
    guarded = serve_models(LIMITS, home=str(home), needs_key=True)
    assert call(guarded, "ServerLive").live
    assert call(guarded, "ModelMetadata", name="digits").code().name == "UNAUTHENTICATED"
    key = [("authorization", f"Bearer {secret}")]
    assert call(guarded, "ModelMetadata", key, name="digits").name == "digits"
    assert call(guarded, "ModelMetadata", key, name="sizes").code().name == "PERMISSION_DENIED"
