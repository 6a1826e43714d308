"""What the endpoint keeps of requests: whole, private, bounded, through a kill; and the labels that come later."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.core.config import build
from evergreen.core.errors import DataError, PipelineError
from evergreen.stages.deploy import logged_requests, request_log
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint
from evergreen.stages.deploy.late_labels import add_labels
from evergreen.stages.request_files import read_requests

ROOT = Path(__file__).parents[2]
JSON = {"content-type": "application/json"}
ROW = {"age": 0.5, "colour": "red"}


@pytest.fixture(scope="module")
def models(tmp_path_factory, random_model):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("digits", "sizes")}
    for name, folder in folders.items():
        random_model(name, folder, 1)
    return folders


@pytest.fixture
def start(models, tmp_path):
    made = []

    def start(*, access_log=False, **log):
        limits = build(DeployConfig, {"log": log}, "deploy").model_dump()
        entries = {name: {"version": "v1.0.0", "path": str(path), "limits": limits} for name, path in models.items()}
        endpoint = Endpoint()
        home = str(tmp_path / ".evergreen" / "requests")
        asyncio.run(
            endpoint.reconfigure({"revision": "1", "home": home, "pipelines": entries, "access_log": access_log})
        )
        made.append(endpoint)
        return endpoint

    yield start
    for endpoint in made:
        endpoint.log.close()


def post(endpoint, path, body, **headers):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            content = body if isinstance(body, (str, bytes)) else json.dumps(body)
            return await client.post(path, content=content, headers={**JSON, **named})

    response = asyncio.run(send())
    return response


def logged(endpoint, name="sizes"):
    endpoint.log.flush()
    return [row for table in read_requests(endpoint.log.folder / name) for row in table.to_pylist()]


def test_what_was_asked_and_answered_is_kept(start):
    endpoint = start()
    rows = [{**ROW, "_id": "order-7"}, {"age": None, "colour": "blue", "more": 1}]
    answers = post(endpoint, "/sizes/predict", {"rows": rows}, x_request_id="mine").json()["predictions"]
    first, second = logged(endpoint)
    assert (first["request_id"], first["row"], second["row"]) == ("mine", 0, 1)
    assert (first["id"], second["id"]) == ("order-7", None)
    assert (first["version"], first["role"], first["key"]) == ("v1.0.0", "production", "")
    assert (first["asked"], second["asked"]) == (ROW, {"age": None, "colour": "blue"})
    assert [one["answered"]["prediction"] for one in (first, second)] == [one["prediction"] for one in answers]
    assert first["answered"]["p_small"] == answers[0]["probabilities"]["small"]
    assert 0 < first["latency_ms"] < 60_000
    assert abs((datetime.now(UTC) - first["time"]).total_seconds()) < 60
    assert "order-7" not in json.dumps(endpoint.served["sizes"].unusual.to_json())


def test_a_line_of_json_tells_of_each_request_where_it_is_wanted(start):
    for wanted, count in ((True, 3), (False, 0)):
        endpoint = start(access_log=wanted)
        post(endpoint, "/sizes/predict?explain=0", ROW, x_request_id="mine")
        post(endpoint, "/sizes/predict", "no JSON")
        post(endpoint, "/shoes/predict", ROW)
        folder = endpoint.home.parent / "access"
        files = [one for one in folder.iterdir() if one.stem == endpoint.replica] if folder.exists() else []
        lines = [json.loads(line) for one in files for line in one.read_text().splitlines()]
        assert len(lines) == count
        if wanted:
            assert folder.stat().st_mode & 0o077 == 0
            assert [(one["pipeline"], one["status"]) for one in lines] == [("sizes", 200), ("sizes", 400), ("", 404)]
            assert {**lines[0], "time": 0, "seconds": 0} == {
                **{"time": 0, "request_id": "mine", "method": "POST", "path": "/sizes/predict", "status": 200},
                **{"seconds": 0, "pipeline": "sizes", "version": "v1.0.0", "role": "production", "key": ""},
            }


def test_every_protocol_and_format_is_logged(start):
    endpoint = start()
    inputs = [
        {"name": "age", "shape": [1], "datatype": "FP64", "data": [0.5]},
        {"name": "colour", "shape": [1], "datatype": "BYTES", "data": ["red"]},
        {"name": "_id", "shape": [1], "datatype": "BYTES", "data": ["tensor"]},
    ]
    assert post(endpoint, "/v2/models/sizes/infer", {"inputs": inputs}).status_code == 200
    line = json.dumps({**ROW, "_id": "line"}) + "\n"
    assert post(endpoint, "/sizes/predict", line * 1500, content_type="application/x-ndjson").status_code == 200
    table = pa.table({"age": [0.5], "colour": ["red"], "_id": [7]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    arrow = {"content_type": "application/vnd.apache.arrow.stream"}
    assert post(endpoint, "/sizes/predict", sink.getvalue().to_pybytes(), **arrow).status_code == 200
    found = logged(endpoint)
    assert [row["id"] for row in found] == ["tensor", *["line"] * 1500, "7"]
    assert [row["row"] for row in found[1:1501]] == list(range(1500))
    assert all(row["asked"] == ROW for row in found)
    image = {"image": [[0.5] * 4] * 4}
    assert post(endpoint, "/digits/predict", image).status_code == 200
    assert logged(endpoint, "digits")[0]["asked"]["image"] == [0.5] * 16


def test_refused_requests_are_not_logged(start):
    endpoint = start()
    assert post(endpoint, "/sizes/predict", {"rows": [{"age": "x", "colour": "red"}]}).status_code == 422
    assert logged(endpoint) == []


def test_files_are_for_their_owner_and_become_parquet_of_the_day(start):
    endpoint = start()
    post(endpoint, "/sizes/predict", ROW)
    before = logged(endpoint)
    folder = endpoint.log.folder / "sizes"
    (journal,) = folder.glob("journal/*.arrows")
    assert journal.stat().st_mode & 0o777 == 0o600
    endpoint.log.close()
    assert list(folder.glob("journal/*")) == []
    (file,) = folder.glob("*/*.parquet")
    assert file.parent.name == datetime.now(UTC).date().isoformat()
    assert file.stat().st_mode & 0o777 == 0o600
    assert {one.stat().st_mode & 0o077 for one in (folder.parent, folder / "journal", file.parent)} == {0}
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"
    assert [row for table in read_requests(folder) for row in table.to_pylist()] == before


def test_sample_drop_and_off(start):
    endpoint = start(sample=0.3, drop=["colour", "none"])
    for number in range(200):
        post(endpoint, "/sizes/predict", ROW, x_request_id=f"r{number}")
    rows = logged(endpoint)
    assert 30 < len(rows) < 90
    assert {tuple(row["asked"]) for row in rows} == {("age",)}
    endpoint = start(sample=0.0)
    post(endpoint, "/sizes/predict", ROW)
    assert endpoint.log._thread is None
    with pytest.raises(PipelineError, match=r"log.*'smaple'; did you mean 'sample'"):
        build(DeployConfig, {"log": {"smaple": 1.0}}, "deploy")


def test_a_full_queue_drops_and_counts(start, monkeypatch):
    endpoint = start()
    monkeypatch.setattr(request_log, "SECONDS", 3600.0)
    monkeypatch.setattr(request_log, "MAX_QUEUED", 3)
    for _ in range(5):
        assert post(endpoint, "/sizes/predict", {"rows": [ROW] * 2}).status_code == 200
    assert endpoint.log.dropped_rows == 4
    assert len(logged(endpoint)) == 6


def test_a_disk_that_is_full_stops_no_answer(start, monkeypatch):
    endpoint, said = start(), []

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(request_log, "SECONDS", 0.01)
    monkeypatch.setattr(request_log.LOG, "error", lambda text, *more: said.append(str(more[-1])))
    monkeypatch.setattr(request_log.Journal, "write", fail)
    assert post(endpoint, "/sizes/predict", ROW).status_code == 200
    deadline = time.monotonic() + 10
    while not said and time.monotonic() < deadline:
        time.sleep(0.01)
    assert endpoint.log.dropped_rows == 1
    assert "No space left" in said[0]


def test_an_answer_that_fits_nothing_is_dropped_and_the_log_goes_on(start):
    endpoint = start()
    odd = [{"prediction": "small"}, {"other": object()}]
    entry = request_log.Entry("sizes", endpoint.served["sizes"], pa.table({"age": [1, 2]}), odd, "odd", "", 0.1, 9)
    endpoint.log.put(entry)
    endpoint.log.flush()
    assert endpoint.log.dropped_rows == 2
    post(endpoint, "/sizes/predict", ROW, x_request_id="after")
    assert [row["request_id"] for row in logged(endpoint)] == ["after"]


def test_old_days_and_what_is_too_much_go(start, monkeypatch):
    endpoint = start(days=2, max_bytes=2_500)
    post(endpoint, "/sizes/predict", ROW)
    endpoint.log.flush()
    folder = endpoint.log.folder / "sizes"
    today = datetime.now(UTC).date()
    for days in (1, 2, 3, 400):
        day = folder / today.fromordinal(today.toordinal() - days).isoformat()
        day.mkdir()
        (day / "x.parquet").write_bytes(b"x" * 1000 * (1 + (days == 2)))
    endpoint.log._clean()
    assert [one.name for one in folder.glob("????-??-??")] == [today.fromordinal(today.toordinal() - 1).isoformat()]


CHILD = """
import asyncio, os, sys, time
sys.path.insert(0, sys.argv[1])
from tests.stages.test_request_log import ROW, post
from evergreen.stages.deploy.endpoint import Endpoint
endpoint = Endpoint()
entry = {"version": "v1.0.0", "path": sys.argv[2], "limits": {}}
asyncio.run(endpoint.reconfigure({"revision": "1", "home": sys.argv[3], "pipelines": {"sizes": entry}}))
number = 0
while True:
    post(endpoint, "/sizes/predict", ROW, x_request_id=str(number))
    print(number, time.time(), flush=True)
    number += 1
"""


@pytest.mark.slow
def test_a_kill_loses_at_most_a_second_and_the_next_replica_tidies_up(models, tmp_path, start):
    home = tmp_path / ".evergreen" / "requests"
    command = [sys.executable, "-c", CHILD, str(ROOT), str(models["sizes"]), str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        sent = []
        while len(sent) < 2 or sent[-1] - sent[0] < 2.5:
            sent.append(float(child.stdout.readline().split()[1]))
        os.kill(child.pid, signal.SIGKILL)
        killed = time.time()
        sent += [float(line.split()[1]) for line in child.stdout.read().splitlines() if len(line.split()) == 2]
    folder = home / "sizes"
    rows = [row for table in read_requests(folder) for row in table.to_pylist()]
    assert [row["request_id"] for row in rows] == [str(number) for number in range(len(rows))]
    # a second between two writes, and what a busy machine adds
    assert killed - sent[len(rows)] < 3 * request_log.SECONDS
    (journal,) = folder.glob("journal/*.arrows")
    with journal.open("ab") as file:
        file.write(b"\xff\xff\xff\xff\x10")  # half a batch
    endpoint = start()
    post(endpoint, "/sizes/predict", ROW, x_request_id="after")
    endpoint.log.flush()
    endpoint.log._clean()
    assert not journal.exists()
    found = [row["request_id"] for row in logged(endpoint)]
    assert sorted(found) == sorted([*(row["request_id"] for row in rows), "after"])


def test_replicas_write_side_by_side_and_leave_each_others_journals(start):
    one, other = start(), start()
    for endpoint in (one, other):
        post(endpoint, "/sizes/predict", ROW)
        endpoint.log.flush()
    one.log._clean()
    assert len(list(one.log.folder.glob("sizes/journal/*.arrows"))) == 2
    assert len(logged(one)) == 2


def test_a_compaction_that_was_killed_counts_no_row_twice(start, monkeypatch):
    endpoint = start()
    post(endpoint, "/sizes/predict", ROW)
    endpoint.log.flush()
    (journal,) = endpoint.log.folder.glob("sizes/journal/*.arrows")
    copy = journal.read_bytes()
    endpoint.log.close()
    journal.write_bytes(copy)  # as if the kill had come between the two names
    assert len(logged(endpoint)) == 1
    logged_requests.compact(journal)
    assert not journal.exists()
    assert len(logged(endpoint)) == 1


def test_labels_are_joined_and_unknown_and_double_ones_told(start):
    endpoint = start()
    rows = [{**ROW, "_id": "a"}, {**ROW, "_id": "b"}, {**ROW, "_id": "twice"}, {**ROW, "_id": "twice"}, ROW]
    post(endpoint, "/sizes/predict", {"rows": rows}, x_request_id="mine")
    labels = [
        {"id": "a", "label": "small"},
        {"id": "nobody", "label": "small"},
        {"id": "twice", "label": "large"},
        {"request_id": "mine", "row": 4, "label": "large"},
        {"request_id": "mine", "row": 5, "label": "large"},
    ]
    response = post(endpoint, "/sizes/labels", {"labels": labels})
    assert response.status_code == 200, response.text
    value = response.json()
    assert value["added"] == 2
    assert value["unknown"] == {"count": 2, "ids": ["nobody", {"request_id": "mine", "row": 5}]}
    assert value["double"] == {"count": 1, "ids": ["twice"]}
    folder = endpoint.log.folder / "sizes"
    (file,) = folder.glob("labels/*.parquet")
    assert file.stat().st_mode & 0o777 == 0o600
    stored = pq.read_table(file).to_pylist()
    assert [(one["request_id"], one["row"], one["label"]) for one in stored] == [
        ("mine", 0, "small"),
        ("mine", 4, "large"),
    ]
    again = [{"request_id": "mine", "row": "0", "label": "small"}, *[{"id": "b", "label": "small"}] * 2]
    value = add_labels(folder, endpoint.served["sizes"].model.spec, again)
    assert (value["added"], value["double"]["count"]) == (0, 3)


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({}, 422, "no labels"),
        ({"labels": []}, 422, "no labels"),
        ({"labels": [3]}, 422, "entry 0"),
        ({"labels": [{"id": "a"}]}, 422, "no label"),
        ({"labels": [{"label": "small"}]}, 422, "names no row"),
        ({"labels": [{"request_id": "x", "row": -1, "label": "small"}]}, 422, "names no row"),
        ({"labels": [{"id": "a", "label": "small"}, {"id": "b", "label": [1]}]}, 422, "types"),
        ({"labels": [{"id": "a", "label": "small"}] * 1001}, 422, "1000"),
        ({"labels": [{"request_id": "x", "row": "9" * 5000, "label": "small"}]}, 422, "names no row"),
        ({"labels": [{"id": "\ud800", "label": "\ud800"}]}, 422, "odd"),
        ({"labels": [{"id": "a", "label": {"b": 1}}]}, 422, "entry 0"),
        ({"labels": [{"id": "a", "label": 10**400}]}, 422, "odd"),
        ("[", 400, "JSON"),
    ],
)
def test_bad_labels_get_one_clear_message(start, body, status, word):
    response = post(start(), "/sizes/labels", body)
    assert response.status_code == status, response.text
    assert word in response.json()["error"]


def test_an_entry_that_names_nothing_is_named():
    with pytest.raises(DataError, match="entry 1"):
        add_labels(Path("/nowhere"), None, [{"id": "a", "label": 1}, {}])
