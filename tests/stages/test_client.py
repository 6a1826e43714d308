"""The Python client asks a real endpoint over HTTP: frames in and out, refusals in words, what fails for a while."""

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pyarrow as pa
import pytest
import uvicorn

import evergreen
from evergreen.client import EndpointError
from evergreen.core.errors import OutageError
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint
from tests.stages.writers import SONG, save_writer

COLUMNS = {"age": [0.1, 0.9, None], "colour": ["red", "blue", "red"]}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


@pytest.fixture(scope="module")
def url(serve_models, tmp_path_factory):
    """An endpoint without Ray, behind a port."""
    with serve(
        serve_models(DeployConfig(max_rows=2).model_dump(), home=str(tmp_path_factory.mktemp("home")))
    ) as address:
        yield address


@contextlib.contextmanager
def serve(made):
    server = uvicorn.Server(uvicorn.Config(made.__serve_build_asgi_app__(), log_level="error", lifespan="off"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def busy(url):
    """A front that passes on what `url` answers once it has refused `failures` requests, or broken them off."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            server.asked += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if server.asked <= server.failures:
                if server.status:
                    self.send_response(server.status)
                    self.send_header("Retry-After", "0")
                    self.end_headers()
                return  # without an answer otherwise
            answer = httpx.post(url + self.path, content=body, headers={"Content-Type": self.headers["Content-Type"]})
            self.send_response(answer.status_code)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = server.failures = server.status = 0
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_frames_come_back_as_they_went_in(url):
    with evergreen.Client(url) as client:
        answers = client.predict("sizes", ROWS)
        table = client.predict("sizes", COLUMNS)
        assert [answer["prediction"] for answer in answers] == table["prediction"].to_pylist()
        assert table["p_small"].to_pylist() == pytest.approx([one["probabilities"]["small"] for one in answers], 1e-6)
        assert client.predict("sizes", pa.table(COLUMNS), version="v1.0.0").equals(table)
        assert client.describe("sizes")["version"] == "v1.0.0"


def test_many_are_asked_at_once(url):
    async def ask():
        async with evergreen.AsyncClient(url) as client:
            return await asyncio.gather(*(client.predict("sizes", ROWS) for _ in range(20)))

    first, *others = asyncio.run(ask())
    assert len(first) == 3
    assert others == [first] * 19


def test_a_refusal_is_an_error_in_the_endpoint_s_words(url):
    with evergreen.Client(url) as client:
        with pytest.raises(EndpointError, match="colour") as caught:
            client.predict("sizes", [{"age": 1}])
        assert (caught.value.status, bool(caught.value.request_id)) == (422, True)
        for name, version in (("nope", ""), ("sizes", "v9.0.0"), ("../sizes", "")):
            with pytest.raises(EndpointError) as caught:
                client.predict(name, ROWS, version=version)
            assert caught.value.status == 404


@pytest.mark.parametrize("status", [503, 429, 0])
def test_what_fails_for_a_while_is_asked_again(busy, status, monkeypatch):
    monkeypatch.setattr("evergreen.client.FIRST_WAIT_S", 0.001)
    busy.failures, busy.status = 2, status
    with evergreen.Client(f"http://127.0.0.1:{busy.server_address[1]}") as client:
        assert len(client.predict("sizes", ROWS)) == 3
    assert busy.asked == 3


def test_what_never_answers_is_told(busy, monkeypatch):
    monkeypatch.setattr("evergreen.client.FIRST_WAIT_S", 0.001)
    busy.failures = 99
    with evergreen.Client(f"http://127.0.0.1:{busy.server_address[1]}", retries=1) as client:
        with pytest.raises(OutageError, match="no answer after 2 tries"):
            client.predict("sizes", ROWS)
        busy.status = 503
        with pytest.raises(EndpointError) as caught:
            client.predict("sizes", ROWS)
    assert caught.value.status == 503


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """An endpoint that writes texts, two at once."""
    folder = save_writer(
        tmp_path_factory.mktemp("song"),
        "language_modelling",
        "decoder",
        ("text", SONG),
        ("text", SONG),
        "bpe",
        length=16,
    )
    entry = {"version": "v1.0.0", "path": folder, "limits": DeployConfig(max_streams=2).model_dump()}
    made = Endpoint()
    asyncio.run(made.reconfigure({"revision": "1", "hosts": [], "pipelines": {"song": entry}}))
    with serve(made) as address:
        yield address


def test_a_text_is_read_while_it_is_written(writer):
    row, how = {"text": "a small"}, {"max_tokens": 8, "temperature": 0}
    whole = httpx.post(f"{writer}/song/predict", params=how, json=row).json()["predictions"][0]["prediction"]
    with evergreen.Client(writer) as client:
        pieces = [*client.stream("song", row, end=(end := {}), **how)]
        assert (end["finish_reason"], end["tokens"], end["version"]) == ("length", 8, "v1.0.0")
        assert ("".join(pieces), len(pieces) > 1) == (whole, True)
        first = client.stream("song", row, version="v1.0.0", **how)
        assert next(first) == pieces[0]
        first.close()  # the endpoint writes no further
        with pytest.raises(EndpointError, match="max_tokens") as caught:
            next(client.stream("song", row, max_tokens=99))
        assert caught.value.status == 400

    async def read():
        async with evergreen.AsyncClient(writer) as client:

            async def one():
                return "".join([piece async for piece in client.stream("song", row, stop=["never", "ever"], **how)])

            return await asyncio.gather(one(), one(), one())  # the third finds no place at first

    assert asyncio.run(read()) == [whole] * 3


def test_a_text_that_is_cut_off_is_told(monkeypatch):
    piece = b'data: {"text": "a"}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            for _ in range(2):
                connection = server.accept()[0]
                connection.recv(2**16)
                connection.sendall(head + piece)
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        address, read = f"http://127.0.0.1:{server.getsockname()[1]}", []

        async def read_async():
            async with evergreen.AsyncClient(address) as client:
                async for text in client.stream("song", {}):
                    read.append(text)

        with evergreen.Client(address) as client, pytest.raises(OutageError, match="cut off"):
            read += client.stream("song", {})
        with pytest.raises(OutageError, match="cut off"):
            asyncio.run(read_async())
        thread.join()
    assert read == ["a", "a"]


def in_browser(url, *options):
    """What a headless Chromium shows once the page's script has run."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium is here")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", *options, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize(("name", "field"), [("sizes", "colour"), ("digits", "image"), ("photos", "image")])
def test_a_person_tries_a_pipeline_in_the_browser(url, name, field):
    shown = in_browser(f"{url}/try#{name}?explain=1", "--dump-dom")
    form, answer = shown.partition('<section id="answer"')[::2]
    assert f"<label>{field}" in form
    assert re.search(r"<small>v1\.0\.0, \d+ ms, request \w+", answer), answer[:500]
    assert re.search(r"<p><b>\w+</b></p><div class=\"bar\">", answer), answer[:500]
    assert '<p class="why">log' in answer
    assert ('<div class="heat"' in answer) == (field == "image")
    assert (name != "photos") or '<img alt="" src="data:;base64,' in form
