"""Requests that are small to send and large to read: each is refused in one line, and others are answered meanwhile."""

import asyncio
import base64
import json
import resource
import struct
import zlib
from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.data.kinds import _wav as wav
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint

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


def rows(**fields):
    return json.dumps(
        {"rows": [{name: value if isinstance(value, str) else as_text(value) for name, value in fields.items()}]}
    )


def as_text(data):
    return base64.b64encode(data).decode()


def picture(width, height, form="PNG", **how):
    stream = BytesIO()
    Image.new("L" if form == "PNG" else "RGB", (width, height)).save(stream, form, **how)
    return stream.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_that_says(width, height, *more):
    """A PNG file of a few bytes whose header claims a size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(more)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def sound(samples=b"\0\0" * 100, channels=1, rate=8000, bits=16, size=None):
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate % 2**32, 2, bits)
    size = len(samples) if size is None else size
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + samples


def film(frames):
    stream = BytesIO()
    pictures = [Image.new("RGB", (24, 24), (number % 256, 0, 0)) for number in range(frames)]
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:])
    return stream.getvalue()


BOMBS = {
    # path, body, status, words of the message
    "a header of 900 million pixels": ("photos", rows(image=png_that_says(30_000, 30_000)), 422, ["pixels"]),
    "100 million black pixels": ("photos", rows(image=picture(10_000, 10_000)), 422, ["16,777,216", "max_pixels"]),
    "a picture of no height": ("photos", rows(image=png_that_says(10, 0)), 422, ["image"]),
    "JPEG": ("photos", rows(image=picture(9_000, 9_000, "JPEG")), 422, ["81,000,000 pixels", "max_pixels"]),
    "WebP of 65 bytes": ("photos", rows(image=picture(9_000, 9_000, "WEBP", lossless=True)), 422, ["max_pixels"]),
    "pictures that are too large together": (
        "photos",
        json.dumps({"rows": [{"image": as_text(picture(2_000, 2_000))}] * 5}),
        422,
        ["row 4", "20,000,000 pixels", "max_pixels"],
    ),
    "a text that unpacks to 100 MB": (
        "photos",
        rows(image=png_that_says(10, 10, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 10**8)))),
        422,
        ["image"],
    ),
    "PostScript": ("photos", rows(image=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nrun"), 422, ["no image"]),
    "base64 of base64": ("photos", rows(image=as_text(picture(9, 9)).encode()), 422, ["no image"]),
    "no base64": ("photos", rows(image="a" * 100_001), 422, ["base64"]),
    "nothing": ("photos", rows(image=b""), 422, ["empty"]),
    "65,535 channels": ("sounds", rows(sound=sound(channels=65_535)), 422, ["0 samples"]),
    "a rate beyond 31 bits": ("sounds", rows(sound=sound(rate=2**32 - 1)), 422, ["rate"]),
    "a rate without end": ("sounds", '{"sound": {"samples": [0.1], "rate": 1%s}}' % ("0" * 99), 422, ["rate"]),
    "5 million samples": ("sounds", rows(sound=sound(b"\0" * 5_000_000, bits=8)), 422, ["4,194,304", "max_samples"]),
    "brackets": ("digits", '{"rows": ' + "[" * 100_000 + "]" * 100_000 + "}", 400, ["JSON"]),
    "objects in objects": ("digits", '{"rows":' * 100_000 + "1" + "}" * 100_000, 400, ["JSON"]),
    "a million rows": ("digits", '{"rows": [' + "{}," * 10**6 + "{}]}", 413, ["1,000,000", "max_values"]),
    "many rows": ("digits", '{"rows": [' + "{}," * 10**5 + "{}]}", 422, ["100001", "max_rows"]),
    "many fields": ("digits", json.dumps({"rows": [{f"f{n}": 1 for n in range(100_000)}]}), 422, ["f0"]),
    "many numbers": ("digits", '{"rows": [{"image": [' + "0," * 500_000 + "0]}]}", 422, ["shape"]),
    "lists of 60 dimensions": ("digits", '{"rows": [{"image": ' + "[" * 60 + "]" * 60 + "}]}", 422, ["shape"]),
    "a number of 4,000 digits": ("digits", '{"rows": [{"image": [[%s]]}]}' % ("9" * 4000), 422, ["image"]),
    "9 MiB": ("digits", " " * (9 * 2**20), 413, ["8388608", "max_body_bytes"]),
}  # fmt: skip


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
