"""Bodies of many rows in each format, in and out: the answers and checks that rows of JSON get, in bounded memory."""

import asyncio
import gzip
import io
import json
import struct
import threading
from random import Random

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy import bulk
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.formats import formats

LIMITS = DeployConfig(
    max_rows=20, max_queue_rows=40, max_body_bytes=20_000, max_stream_rows=5_000, max_stream_bytes=2_000_000,
    max_decoded_bytes=1_000_000,
).model_dump()  # fmt: skip
JSON, ARROW, PARQUET, NDJSON, CSV = (
    "application/json",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
    "application/x-ndjson",
    "text/csv",
)
N_ROWS = 2500  # more than a batch


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory, serve_models):
    home = tmp_path_factory.mktemp("home")
    made = serve_models(LIMITS, home=str(home))
    yield made
    assert (made.spools.held_bytes, made.bodies.held_bytes, [one for one in home.iterdir() if one.is_file()]) == (
        0,
        0,
        [],
    )


def post(endpoint, name, body, content_type, accept="*/*", **headers):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            named = {"content-type": content_type, "accept": accept, **headers}
            return await client.post(f"/{name}/predict", content=body, headers=named)

    return asyncio.run(send())


def table(n_rows=N_ROWS):
    ages = pa.array(np.random.default_rng(0).random(n_rows).round(3))
    return pa.table({"age": ages, "colour": pa.array(["red", "blue", None, "green", "red"] * (n_rows // 5))})


def encode(rows, content_type):
    file = io.BytesIO()
    match content_type:
        case "application/vnd.apache.arrow.stream":
            with pa.ipc.new_stream(file, rows.schema) as writer:
                writer.write_table(rows, max_chunksize=700)
        case "application/vnd.apache.parquet":
            pq.write_table(rows, file, row_group_size=900)
        case "text/csv":
            pa.csv.write_csv(rows, file)
        case "application/x-ndjson":
            file.write("".join(json.dumps(row) + "\n" for row in rows.to_pylist()).encode())
    return file.getvalue()


def decode(data, content_type):
    """The predictions and the probabilities of the class "small"."""
    if content_type == JSON:
        answers = json.loads(data)["predictions"]
    elif content_type == NDJSON:
        answers = [json.loads(line) for line in data.splitlines()]
    else:
        read = {ARROW: lambda file: pa.ipc.open_stream(file).read_all(), PARQUET: pq.read_table, CSV: pa.csv.read_csv}
        answers = read[content_type](io.BytesIO(data)).to_pylist()
    return [
        (one["prediction"], one["p_small"] if "p_small" in one else one["probabilities"]["small"]) for one in answers
    ]


@pytest.fixture(scope="module")
def expected(endpoint):
    rows = table().to_pylist()
    answers = []
    for start in range(0, N_ROWS, 20):
        response = post(endpoint, "sizes", json.dumps({"rows": rows[start : start + 20]}), JSON)
        answers += decode(response.content, JSON)
    return answers


def assert_equal(found, expected):
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [p for _, p in found] == pytest.approx([p for _, p in expected], abs=1e-6)


@pytest.mark.parametrize("accept", sorted(formats()))
@pytest.mark.parametrize("content_type", [ARROW, PARQUET, NDJSON, CSV])
def test_every_format_goes_in_and_out_with_the_answers_of_json(endpoint, expected, content_type, accept):
    body = encode(table(), content_type)
    response = post(endpoint, "sizes", body, content_type, accept)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == accept
    assert response.headers["x-model-version"] == "v1.0.0"
    assert_equal(decode(response.content, accept), expected)
    same = post(endpoint, "sizes", gzip.compress(body), content_type, **{"content-encoding": "gzip"})
    assert_equal(decode(same.content, content_type), expected)


@pytest.mark.parametrize("accept", [ARROW, PARQUET, NDJSON, CSV])
def test_rows_of_json_may_be_answered_in_every_format(endpoint, expected, accept):
    response = post(endpoint, "sizes", json.dumps({"rows": table(10).to_pylist()}), JSON, f"{accept};q=0.9, */*")
    assert_equal(decode(response.content, accept), expected_of(endpoint, 10))


def expected_of(endpoint, n_rows):
    response = post(endpoint, "sizes", json.dumps({"rows": table(n_rows).to_pylist()}), JSON)
    return decode(response.content, JSON)


def test_an_unknown_accept_gets_the_format_that_was_sent(endpoint):
    response = post(endpoint, "sizes", encode(table(10), CSV), CSV, "text/html, application/xml;q=0.9")
    assert response.headers["content-type"].startswith(CSV)


def test_matrices_come_as_tensors_or_lists(endpoint):
    images = np.random.default_rng(0).random((30, 4, 4))
    tensors = pa.table({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(images)})
    lists = pa.table({"image": pa.array(images.tolist())})
    found = [
        post(endpoint, "digits", encode(rows, kind), kind, NDJSON).text.splitlines()
        for rows, kind in ((tensors, ARROW), (lists, ARROW), (lists, PARQUET), (lists, NDJSON))
    ]
    assert [len(answers) for answers in found] == [30] * 4
    assert found[0] == found[1] == found[2] == found[3]


def stream(*batches, **options):
    file = io.BytesIO()
    with pa.ipc.new_stream(file, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return file.getvalue()


def with_wrong_offsets():
    """A stream whose texts lie where there is no memory."""
    batch = pa.record_batch({"age": [0.5] * 4, "colour": ["red"] * 4})
    return stream(batch).replace(struct.pack("<5i", 0, 3, 6, 9, 12), struct.pack("<5i", 0, 3, 2**30, 9, 12))


def lines_of(**fields):
    return json.dumps({"age": 0.5, "colour": "red"} | fields).encode() + b"\n"


ZEROS = np.zeros(2**20)
BIG = pa.record_batch({"age": ZEROS, "colour": pa.array(["red"] * len(ZEROS)).dictionary_encode()})
LONG = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), ["x" * 20_000])
BAD = {
    # content type, body, status, words of the message
    "no Arrow": (ARROW, b"nothing", 422, ["Arrow"]),
    "no Parquet": (PARQUET, b"nothing", 422, ["Parquet"]),
    "nothing in Arrow": (ARROW, b"", 422, ["Arrow"]),
    "nothing in CSV": (CSV, b"", 422, ["empty"]),
    "nothing in lines": (NDJSON, b"\n\n", 422, ["no rows"]),
    "no rows in Arrow": (ARROW, encode(table(0), ARROW), 422, ["no rows"]),
    "no rows in CSV": (CSV, b"age,colour\n", 422, ["no rows"]),
    "half a stream": (ARROW, encode(table(), ARROW)[:9000], 422, ["Arrow"]),
    "half a file": (PARQUET, encode(table(), PARQUET)[:-100], 422, ["Parquet"]),
    "offsets into nowhere": (ARROW, with_wrong_offsets(), 422, ["Arrow"]),
    "a name that is no text": (ARROW, encode(table(5), ARROW).replace(b"colour", b"col\xffur"), 422, ["Arrow"]),
    "a name that is no text in Parquet": (
        PARQUET,
        encode(table(5), PARQUET).replace(b"colour", b"col\xffur"),
        422,
        ["Parquet"],
    ),
    "a text that is none": (ARROW, encode(table(5), ARROW).replace(b"red", b"r\xffd"), 422, ["Arrow"]),
    "a text that is none in Parquet": (
        PARQUET,
        encode(pa.table({"age": [1.0], "colour": ["abcdefghijkl"]}), PARQUET).replace(b"abcdef", b"abcd\xff\xff"),
        422,
        ["Parquet"],
    ),
    "a compressed batch of zeros": (ARROW, stream(BIG, compression="zstd"), 422, ["max_decoded_bytes", "1,000,000"]),
    "a long text many times": (
        ARROW,
        stream(pa.record_batch({"age": ZEROS[:2000], "colour": LONG})),
        422,
        ["20,488,192", "max_decoded_bytes"],
    ),
    "a long text many times in Parquet": (
        PARQUET,
        encode(pa.table({"age": ZEROS[:2000], "colour": LONG}), PARQUET),
        422,
        ["max_decoded_bytes"],
    ),
    "a column of zeros": (
        PARQUET,
        encode(pa.table({"age": np.arange(4000) % 3 + 0.5, "colour": ["y" * 500] * 4000}), PARQUET),
        200,
        [],
    ),
    "too many rows": (NDJSON, lines_of() * 5001, 422, ["max_stream_rows"]),
    "too many rows in Parquet": (PARQUET, encode(table(5005), PARQUET), 422, ["5,005", "max_stream_rows"]),
    "too many bytes": (CSV, b"age,colour\n" + b"1,red\n" * 400_000, 413, ["2000000 bytes", "max_stream_bytes"]),
    "a long line": (NDJSON, lines_of(colour="x" * 30_000), 413, ["a line", "20,000"]),
    "a bad line": (NDJSON, lines_of() * 2000 + b"{\n", 422, ["line 2001", "JSON"]),
    "a wrong value late": (NDJSON, lines_of() * 2000 + lines_of(age="x"), 422, ["row 2000", "age", "number"]),
    "a wrong value late in CSV": (CSV, b"age,colour\n" + b"1,red\n" * 2000 + b"x,red\n", 422, ["row 2000", "age"]),
    "a ragged line": (CSV, b"age,colour\n1,red\n1,red,2\n", 422, ["row 1", "3 fields where 2"]),
    "a field less": (CSV, b"age\n1\n", 422, ["colour"]),
    "a field less in lines": (NDJSON, b'{"age": 1}\n', 422, ["row 0", "colour", "missing"]),
    "a number that is none": (ARROW, stream(pa.record_batch({"age": ["a"], "colour": ["b"]})), 422, ["row 0", "age"]),
    "numbers for names": (CSV, b"1,2\n3,4\n", 422, ["column names"]),
    "a column twice": (CSV, b"age,age\n3,4\n", 422, ["age"]),
    "another type": ("application/xml", b"<a/>", 415, ["application/json", "text/csv"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_body_that_cannot_be_answered_gets_one_clear_message(endpoint, name):
    content_type, body, status, words = BAD[name]
    response = post(endpoint, "sizes", body, content_type)
    assert response.status_code == status, response.text[:500]
    if status != 200:
        message = response.json()["error"]
        assert [word for word in words if word not in message] == [], message
        assert "/dev/fd" not in message
        assert "\n" not in message
        assert len(message) < 700


@pytest.mark.parametrize("content_type", [ARROW, PARQUET, NDJSON, CSV])
@pytest.mark.slow
def test_damaged_bodies_are_refused_and_break_nothing(endpoint, content_type):
    random, whole = Random(0), encode(table(50), content_type)
    statuses = set()
    for _ in range(200):
        body = bytearray(whole)
        for _ in range(random.choice([1, 1, 2, 5])):
            place = random.randrange(len(body))
            match random.randrange(4):
                case 0:
                    body[place] = random.randrange(256)
                case 1:
                    body[place : place + 8] = random.choice([-1, 0, 2**40, 2**31 - 1]).to_bytes(
                        8, "little", signed=True
                    )
                case 2:
                    del body[place : place + random.randrange(1, 30)]
                case 3:
                    body[place:place] = body[place : place + random.randrange(1, 30)]
        statuses.add(post(endpoint, "sizes", bytes(body), content_type).status_code)
    assert statuses <= {200, 413, 422}
    assert 422 in statuses


def test_an_upload_that_stops_is_given_up(endpoint):
    limits = endpoint.served["sizes"].limits
    limits["max_body_seconds"] = 0.05

    async def half():
        yield b"age,colour\n"
        await asyncio.Event().wait()

    try:
        assert post(endpoint, "sizes", half(), CSV).status_code == 408
    finally:
        limits["max_body_seconds"] = 60.0


def test_a_client_that_leaves_ends_the_work(endpoint, monkeypatch):
    """The thread hears of it after the batch at hand."""
    served, works, left, sent, answers = endpoint.served["sizes"], [], threading.Event(), [], []

    class Work(bulk._BulkWork):
        def answer_batches(self, reading):
            works.append(self)
            return super().answer_batches(reading)

    def predict(rows, is_valid):
        sent.append(len(rows))
        left.set()
        assert works[0].has_left.wait(20)
        return Answers([[served.example_answer] * len(rows)])

    async def receive():
        if not left.is_set() and not sent:
            sent.append(0)
            return {"type": "http.request", "body": encode(table(5000), ARROW), "more_body": False}
        while not left.is_set():
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    monkeypatch.setattr(bulk, "_BulkWork", Work)
    monkeypatch.setattr(served, "answer_table", predict)
    scope = {"type": "http", "method": "POST", "path": "/sizes/predict", "query_string": b""}
    scope["headers"] = [(b"host", b"localhost"), (b"content-type", ARROW.encode())]
    asyncio.run(endpoint.asgi(scope, receive, lambda message: answers.append(message)))
    assert answers == []
    assert len(sent) == 2, "one batch"
