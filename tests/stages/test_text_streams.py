"""Texts that are written while their client reads: as events, by OpenAI's API, and as each request asks."""

import asyncio
import json

import httpx
import numpy as np
import pytest
import torch

from evergreen.models.text_stream import Piece, Sampling, write_text
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint
from evergreen.stages.deploy.version_process import VersionProcessError
from tests.stages.writers import SONG, save_writer

EVENTS = {"accept": "text/event-stream"}
LIMITS = DeployConfig(max_streams=2).model_dump()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory, random_model):
    place = tmp_path_factory.mktemp
    tones = [{"samples": np.sin(np.arange(2000) / 9).tolist(), "rate": 8000}] * 20
    numbers = [str(number) for number in range(100, 110)] * 2
    folders = {
        "song": save_writer(
            place("song"), "language_modelling", "decoder", ("text", SONG), ("text", SONG), "bpe", length=16
        ),
        "words": save_writer(place("words"), "translation", "seq2seq", ("number", numbers), ("said", SONG), "word"),
        "heard": save_writer(place("heard"), "speech", "gru", ("sound", tones), ("said", SONG), "character"),
    }
    folder = place("sizes")
    random_model("sizes", folder, 1)
    folders["sizes"] = str(folder)
    made = Endpoint()
    entries = {name: {"version": "v1.0.0", "path": path, "limits": LIMITS} for name, path in folders.items()}
    config = {"revision": "1", "pipelines": entries, "home": str(place("home"))}
    asyncio.run(made.reconfigure(config))
    assert not made.failures
    yield made
    assert made.n_streams == 0


def ask(endpoint, path, body=None, **headers):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request("GET" if body is None else "POST", path, json=body, headers=headers)

    return asyncio.run(send())


def read_events(response):
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    lines = [block.removeprefix("data: ") for block in response.text.split("\n\n")[:-1]]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def example(endpoint, name):
    return endpoint.served[name].schema["example"]


@pytest.mark.parametrize("name", ["song", "words", "heard"])
def test_the_pieces_make_the_text_that_is_answered_at_once(endpoint, name):
    row = example(endpoint, name)
    whole = ask(endpoint, f"/{name}/predict", {"rows": [row]}).json()["predictions"][0]["prediction"]
    *pieces, last = read_events(ask(endpoint, f"/{name}/predict", {"rows": [row]}, **EVENTS))
    assert "".join(piece["text"] for piece in pieces) == last["prediction"] == whole
    assert (last["version"], last["finish_reason"] in ("stop", "length")) == ("v1.0.0", True)
    assert len(pieces) > 1 or name == "heard"


def test_a_request_says_how_its_text_is_written(endpoint):
    row = {"rows": [example(endpoint, "song")]}

    def write(**options):
        return ask(endpoint, f"/song/predict?{httpx.QueryParams(options)}", row).json()["predictions"][0]["prediction"]

    *_, last = read_events(ask(endpoint, "/song/predict?max_tokens=3", row, **EVENTS))
    assert (last["tokens"], last["finish_reason"]) == (3, "length")
    likeliest = write(temperature=0)
    assert likeliest == write(temperature=0, seed=7)
    drawn = {write(temperature=2, seed=seed) for seed in range(3)}
    assert len(drawn) == 3
    assert write(temperature=2, seed=0, max_tokens=5) in write(temperature=2, seed=0)


def test_a_text_ends_before_a_stop_and_no_part_of_that_is_shown(endpoint):
    served = endpoint.served["song"]
    arrays = served.model.spec.encode(served.model.spec.parse_request([example(endpoint, "song")], ""), target=False)
    rows = {name: torch.as_tensor(array) for name, array in arrays.items()}
    whole = "".join(piece.text for piece in write_text(served.model.network, rows, Sampling(max_tokens=14)))
    stop = whole[8:14]
    pieces = [*write_text(served.model.network, rows, Sampling(max_tokens=14, stop=("never", stop)))]
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/song/predict?max_tokens=0", "max_tokens is '0'; use a whole number of 1 to"),
        ("/song/predict?max_tokens=9999", "max_tokens is '9999'"),
        ("/song/predict?max_tokens=1.5", "max_tokens is '1.5'"),
        ("/song/predict?temperature=3", "temperature is '3'; use a number of 0 to 2.0"),
        ("/song/predict?temperature=nan", "temperature is 'nan'"),
        ("/song/predict?top_p=0", "top_p is '0'; use above 0, to 1"),
        ("/song/predict?stop=", "use up to 4 texts of 1 to 100 characters"),
        ("/song/predict?seed=-1", "seed is '-1'"),
        ("/sizes/predict?max_tokens=2", "classification writes no text; ask for application/json"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_line(endpoint, path, says):
    answer = ask(endpoint, path, example(endpoint, path.split("/")[1]))
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_events_are_of_one_row_and_of_what_writes(endpoint):
    rows = [example(endpoint, "song")] * 2
    assert "send one row" in ask(endpoint, "/song/predict", {"rows": rows}, **EVENTS).json()["error"]
    assert ask(endpoint, "/sizes/predict", example(endpoint, "sizes"), **EVENTS).status_code == 400


def test_a_client_that_leaves_ends_the_writing(endpoint):
    """Asked as a server asks, with a client that is gone after the first piece."""
    steps, served = [], endpoint.served["song"]
    write = served.write
    body = json.dumps(example(endpoint, "song")).encode()

    def counted(*args):
        for piece in write(*args):
            steps.append(piece)
            yield piece

    async def talk():
        sent, has_left = [], asyncio.Event()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await has_left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            if message.get("body"):
                has_left.set()

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"accept", b"text/event-stream")]
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "POST"}
        scope |= {"path": "/song/predict", "query_string": b"", "headers": headers, "http_version": "1.1"}
        await endpoint.asgi(scope, receive, send)
        return sent

    served.write = counted
    try:
        sent = asyncio.run(talk())
    finally:
        served.write = write
    assert len(steps) < 10 < served.model.network.task.length
    assert sent[0]["status"] == 200
    assert endpoint.n_streams == 0
    assert endpoint.counters.requests[("song", "v1.0.0", "production"), 499] == 1


class Breaking:
    """A process that dies when it has written some pieces of a text."""

    async def write(self, table, sampling):
        for text in ("\x00" * 3, "\x00" * 2):
            yield Piece(text, 1)
        raise VersionProcessError("its process died")


def test_a_text_goes_on_where_the_process_that_wrote_it_stopped(endpoint):
    served, row = endpoint.served["song"], {"rows": [example(endpoint, "song")]}
    *_, whole = read_events(ask(endpoint, "/song/predict", row, **EVENTS))
    served.texts = Breaking()
    try:
        *pieces, last = read_events(ask(endpoint, "/song/predict", row, **EVENTS))
    finally:
        served.texts = None
    assert [piece["text"] for piece in pieces[:2]] == ["\x00" * 3, "\x00" * 2]
    assert last["prediction"] == "\x00" * 5 + whole["prediction"][5:]
    assert (last["tokens"], last["finish_reason"]) == (whole["tokens"], whole["finish_reason"])


def test_more_texts_at_once_than_may_be_are_refused(endpoint):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            row = {"rows": [example(endpoint, "song")]}
            return await asyncio.gather(*(client.post("/song/predict", json=row, headers=EVENTS) for _ in range(4)))

    answers = asyncio.run(send())
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
    assert "max_streams" in next(answer.json()["error"] for answer in answers if answer.status_code == 429)


def test_openai_s_addresses_list_and_continue(endpoint):
    assert [one["id"] for one in ask(endpoint, "/v1/models").json()["data"]] == ["song"]
    assert ask(endpoint, "/v1/models/song").json()["object"] == "model"
    asked = {"model": "song", "prompt": ["a small", "the old"], "max_tokens": 5, "temperature": 0, "n": 1}
    whole = ask(endpoint, "/v1/completions", asked).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert whole["usage"]["completion_tokens"] == 10
    assert whole["usage"]["prompt_tokens"] > 2
    chunks = read_events(ask(endpoint, "/v1/completions", {**asked, "stream": True}))
    assert chunks[-1] == "[DONE]"
    first = "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1] if chunk["choices"][0]["index"] == 0)
    assert first == whole["choices"][0]["text"]
    chat = {"model": "song", "messages": [{"role": "user", "content": "a small"}], "max_completion_tokens": 5}
    said = ask(endpoint, "/v1/chat/completions", {**chat, "temperature": 0}).json()["choices"][0]
    assert said["message"] == {"role": "assistant", "content": first}


def test_the_documentation_tells_what_may_be_asked(endpoint):
    paths = json.loads(endpoint.documents.schema)["paths"]
    song, sizes = (paths[f"/{name}/predict"]["post"] for name in ("song", "sizes"))
    assert {"max_tokens", "temperature", "top_p", "stop", "seed"} <= {one["name"] for one in song["parameters"]}
    assert "text/event-stream" in song["responses"]["200"]["content"]
    assert "text/event-stream" not in sizes["responses"]["200"]["content"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"model": "son", "prompt": "a"}, 404, "did you mean 'song'"),
        ({"model": "sizes", "prompt": "a"}, 400, "sizes does not write texts on"),
        ({"model": "song"}, 400, "prompt is no text"),
        ({"model": "song", "prompt": [1]}, 400, "prompt is no text"),
        ({"model": "song", "prompt": "a", "logprobs": 3}, 400, "logprobs is not supported"),
        ({"model": "song", "prompt": "a", "n": 2}, 400, "n is not supported"),
        ({"model": "song", "prompt": "a", "top_p": 2}, 400, "top_p is '2'"),
        ({"model": "song", "prompt": "a", "max_tokens": True}, 400, "max_tokens is 'True'"),
    ],
)
def test_what_openai_s_api_does_not_take_here_is_refused_in_a_line(endpoint, body, status, says):
    answer = ask(endpoint, "/v1/completions", body)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
