"""Forms with files: answered as the same rows in JSON, within the same limits."""

import asyncio
import base64
import json

import httpx
import numpy as np
import pytest

from evergreen.data.kinds._images import encode_png
from evergreen.data.kinds.sound import wav
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint

LIMITS = DeployConfig(max_rows=3, max_body_bytes=60_000, max_pixels=4_000, max_samples=9_000).model_dump()
PICTURE = encode_png(np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8))
SOUND = wav.encode_wav(np.sin(np.arange(2000) / 9), 8000)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory, random_model):
    entries = {}
    for name in ("photos", "sounds", "words", "sizes"):
        folder = tmp_path_factory.mktemp(name)
        random_model(name, folder, 1, "linear" if name != "words" else "encoder")
        entries[name] = {"version": "v1.0.0", "path": str(folder), "limits": LIMITS}
    made = Endpoint()
    asyncio.run(made.reconfigure({"revision": "1", "pipelines": entries}))
    assert not made.failures
    return made


def post(endpoint, name, **content):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(f"/{name}/predict", **content)

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("name", "files", "row"),
    [
        ("photos", {"image": ("cat.png", PICTURE)}, {"image": base64.b64encode(PICTURE).decode()}),
        ("sounds", {"sound": ("horn.wav", SOUND)}, {"sound": base64.b64encode(SOUND).decode()}),
        ("words", {"text": ("said.txt", b"a bird sings\r\n--and")}, {"text": "a bird sings\r\n--and"}),
        ("sizes", {"age": (None, "0.5"), "colour": (None, "red")}, {"age": 0.5, "colour": "red"}),
        ("sizes", {"age": (None, ""), "colour": (None, "red")}, {"age": None, "colour": "red"}),
    ],
)
def test_a_form_is_answered_as_the_same_row_in_json(endpoint, name, files, row):
    answer = post(endpoint, name, files=files)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == post(endpoint, name, json=row).json()["predictions"]


def test_a_field_that_comes_several_times_is_of_several_rows(endpoint):
    files = [("image", ("one.png", PICTURE)), ("image", ("two.png", PICTURE))]
    first, second = post(endpoint, "photos", files=files).json()["predictions"]
    assert first == second


BIG = encode_png(np.zeros((90, 90, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "files", "status", "says"),
    [
        ("photos", [("image", ("a.png", PICTURE))] * 4, 422, "rows has 4 items"),
        ("photos", [("image", ("a.png", BIG))], 422, "pixels"),
        ("photos", [("image", ("a.png", b"GIF89a?"))], 422, "row 0, field 'image'"),
        ("photos", [("imgae", ("a.png", PICTURE))], 422, "image"),
        ("sounds", [("sound", ("a.wav", wav.encode_wav(np.zeros(9_500), 8000)))], 422, "samples"),
        ("photos", [("image", ("a.png", bytes(70_000)))], 413, "60000 bytes"),
        ("sizes", [("age", (None, "old")), ("colour", (None, "red"))], 422, "row 0, field 'age'"),
        ("sizes", [("age", (None, "1")), ("age", (None, "2")), ("colour", (None, "red"))], 422, "oftener than others"),
    ],
)
def test_a_form_that_cannot_be_answered_is_refused_in_a_line(endpoint, name, files, status, says):
    answer = post(endpoint, name, files=files)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]


@pytest.mark.parametrize(
    ("content_type", "body", "says"),
    [
        ("multipart/form-data", b"", "names no boundary"),
        ("multipart/form-data; boundary=x", b"", "cut off"),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--", "cut off"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="age"\r\n\r\n1', "cut off"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n1\r\n--x--", "has no name"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--", "has no name"),
        ("multipart/form-data; boundary=x", b"--x--", "no fields"),
    ],
)
def test_what_is_no_form_is_refused_in_a_line(endpoint, content_type, body, says):
    answer = post(endpoint, "sizes", content=body, headers={"content-type": content_type})
    assert answer.status_code in (400, 422)
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_the_documentation_names_forms(endpoint):
    schema = json.loads(endpoint.documents.schema)
    assert "multipart/form-data" in schema["paths"]["/photos/predict"]["post"]["requestBody"]["content"]
