"""The Open Inference Protocol, asked as its clients ask: the same checks and answers as rows of JSON get."""

import asyncio
import gzip
import json
import struct

import httpx
import numpy as np
import pytest

from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint
from tests.stages.bombs import as_text, picture

LIMITS = DeployConfig(max_rows=20, max_queue_rows=40, max_body_bytes=20_000).model_dump()


@pytest.fixture(scope="module")
def endpoint(serve_models):
    return serve_models(LIMITS)


def ask(endpoint, path, body=None, **headers):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            content = json.dumps(body) if isinstance(body, dict) else body
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request("GET" if body is None else "POST", path, content=content, headers=named)

    return asyncio.run(send())


def predict(endpoint, name, rows):
    body = {"rows": rows}
    return ask(endpoint, f"/{name}/predict", body, content_type="application/json").json()["predictions"]


def tensor(name, shape, datatype, data):
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


AGES = tensor("age", [2], "FP64", [0.5, 0.25])
COLOURS = tensor("colour", [2, 1], "BYTES", ["red", "blue"])
ROWS = [{"age": 0.5, "colour": "red"}, {"age": 0.25, "colour": "blue"}]


def test_the_server_and_its_models_describe_themselves(endpoint):
    assert ask(endpoint, "/v2").json()["extensions"] == ["binary_tensor_data"]
    for path in ("health/live", "health/ready", "models/sizes/ready", "models/sizes/versions/v1.0.0/ready"):
        assert ask(endpoint, f"/v2/{path}").status_code == 200
    assert ask(Endpoint(), "/v2/health/live").status_code == 200
    assert ask(Endpoint(), "/v2/health/ready").status_code == 503
    model = ask(endpoint, "/v2/models/sizes").json()
    assert (model["name"], model["versions"]) == ("sizes", ["v1.0.0"])
    assert model["inputs"] == [
        {"name": "age", "datatype": "FP64", "shape": [-1]},
        {"name": "colour", "datatype": "BYTES", "shape": [-1]},
    ]
    assert {one["name"]: one["datatype"] for one in model["outputs"]} == {
        "prediction": "BYTES",
        "p_large": "FP64",
        "p_small": "FP64",
    }
    (image,) = ask(endpoint, "/v2/models/digits/versions/v1.0.0").json()["inputs"]
    assert image == {"name": "image", "datatype": "FP64", "shape": [-1, 4, 4]}
    for path in ("models/size", "models/sizes/versions/v2.0.0", "models/size/ready"):
        assert ask(endpoint, f"/v2/{path}").status_code == 404


def test_tensors_get_the_answers_that_rows_get(endpoint):
    answers = predict(endpoint, "sizes", ROWS)
    request = {"id": "mine", "inputs": [COLOURS, AGES]}
    value = ask(endpoint, "/v2/models/sizes/infer", request).json()
    assert (value["model_name"], value["model_version"], value["id"]) == ("sizes", "v1.0.0", "mine")
    outputs = {one["name"]: one for one in value["outputs"]}
    assert outputs["prediction"]["data"] == [answer["prediction"] for answer in answers]
    assert outputs["p_small"]["data"] == [answer["probabilities"]["small"] for answer in answers]
    only = {**request, "outputs": [{"name": "prediction"}]}
    (one,) = ask(endpoint, "/v2/models/sizes/versions/v1.0.0/infer", only).json()["outputs"]
    assert one == outputs["prediction"]
    packed = gzip.compress(json.dumps(request).encode())
    assert ask(endpoint, "/v2/models/sizes/infer", packed, content_encoding="gzip").json() == value


def test_matrices_come_flat_or_nested_or_as_bytes(endpoint):
    images = np.linspace(0, 1, 32).reshape(2, 4, 4)
    answers = predict(endpoint, "digits", [{"image": image} for image in images.tolist()])
    for data in (images.tolist(), images.ravel().tolist()):
        value = ask(endpoint, "/v2/models/digits/infer", {"inputs": [tensor("image", [2, 4, 4], "FP64", data)]}).json()
        found = {one["name"]: one["data"] for one in value["outputs"]}
        assert found["p_0"] == [answer["probabilities"]["0"] for answer in answers]
    entry = {"name": "image", "shape": [2, 4, 4], "datatype": "FP64", "parameters": {"binary_data_size": 256}}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    lengths = {"inference_header_content_length": str(len(head)), "content_type": "application/octet-stream"}
    response = ask(endpoint, "/v2/models/digits/infer", head + images.tobytes(), **lengths)
    size = int(response.headers["inference-header-content-length"])
    outputs, rest = json.loads(response.content[:size])["outputs"], response.content[size:]
    assert sum(one["parameters"]["binary_data_size"] for one in outputs) == len(rest)
    at = outputs[0]["parameters"]["binary_data_size"]
    assert outputs[1]["name"] == "p_0"
    assert np.frombuffer(rest[at : at + 16]).tolist() == found["p_0"]


def test_files_come_as_they_are(endpoint):
    data = picture(40, 40)
    answers = predict(endpoint, "photos", [{"image": as_text(data)}])
    size = len(data) + 4
    entry = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [entry]}).encode()
    body = head + struct.pack("<I", len(data)) + data
    value = ask(endpoint, "/v2/models/photos/infer", body, inference_header_content_length=str(len(head))).json()
    assert value["outputs"][0]["data"] == [answers[0]["prediction"]]
    value = ask(endpoint, "/v2/models/photos/infer", {"inputs": [tensor("image", [1], "BYTES", [as_text(data)])]})
    assert value.json()["outputs"][0]["data"] == [answers[0]["prediction"]]


def changed(**changes):
    return {"inputs": [{**AGES, **changes}, COLOURS]}


BAD = [
    # body, status, words of the message
    ({}, 422, ["inputs"]),
    ({"inputs": 3}, 422, ["inputs", "list"]),
    ({"inputs": [AGES]}, 422, ["row 0", "colour", "missing"]),
    ({"inputs": [AGES, tensor("colour", [1], "BYTES", ["red"])]}, 422, ["colour", "number of rows"]),
    (changed(shape=[2, 2]), 422, ["age", "shape"]),
    (changed(shape=[3]), 422, ["age", "2 values", "3"]),
    (changed(shape=[2**39, 0]), 422, ["age", "shape"]),
    (changed(shape=[-1]), 422, ["age", "shape"]),
    (changed(shape="2"), 422, ["age", "shape"]),
    (changed(datatype="FP128"), 422, ["age", "FP128", "FP64"]),
    (changed(datatype=["FP64"]), 422, ["age", "datatype"]),
    (changed(data=None), 422, ["age", "data"]),
    (changed(data=["a", "b"]), 422, ["row 0", "age", "number"]),
    (changed(data=[[1], [1, 2]]), 422, ["row 1", "age"]),
    (changed(parameters={"binary_data_size": 16}), 422, ["binary_data_size"]),
    ({"inputs": [tensor("age", [21], "FP32", [1.0] * 21), tensor("colour", [21], "BYTES", ["a"] * 21)]}, 422, ["20"]),
    ({"inputs": [AGES, COLOURS], "outputs": [{"name": "predictions"}]}, 422, ["predictions", "'prediction'"]),
    (b"{", 400, ["JSON"]),
    (b"[]", 422, ["object", "inputs"]),
    (gzip.compress(b"{}", mtime=0), 400, ["JSON"]),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD)
def test_bad_tensors_get_one_clear_message(endpoint, body, status, words):
    response = ask(endpoint, "/v2/models/sizes/infer", body)
    assert response.status_code == status, response.text
    message = response.json()["error"]
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("tail", "length", "status"),
    [(b"\0" * 15, None, 422), (b"\0" * 17, None, 422), (b"\0" * 16, "9999", 400), (b"\0" * 16, "x", 400)],
)
def test_bytes_and_their_lengths_have_to_agree(endpoint, tail, length, status):
    entry = {key: value for key, value in AGES.items() if key != "data"}
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": 16}}, COLOURS]}).encode()
    response = ask(
        endpoint, "/v2/models/sizes/infer", head + tail, inference_header_content_length=length or str(len(head))
    )
    assert response.status_code == status, response.text
    assert endpoint.bodies.held_bytes == 0


def test_a_form_of_a_web_page_is_refused(endpoint):
    response = ask(endpoint, "/v2/models/sizes/infer", {"inputs": [AGES, COLOURS]}, content_type="text/plain")
    assert response.status_code == 415
