"""A secret in an address is refused by every source; what the environment fills in is neither shown nor stored."""

import pickle
import sqlite3
import traceback

import pyarrow as pa
import pytest

from evergreen.core import parts
from evergreen.core.errors import DataError, PipelineError
from evergreen.core.paths import Paths
from evergreen.data import sources
from evergreen.data.sources import open_source
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.pipeline import read as read_pipeline

SECRET = "gEhe1m-Wort"
OWN = """
import pyarrow as pa

from evergreen.data import sources


class Till(sources.Source):
    def read(self):
        if "break" in self.name:
            raise RuntimeError(f"cannot reach {self.name}")
        yield pa.record_batch({"a": [1, 2], "_origin": [f"till:{self.name}#1", f"till:{self.name}#2"]})

    def fingerprint(self):
        return f"two rows of {self.name}"
"""


@pytest.fixture
def till(tmp_path):
    (tmp_path / "data" / "sources").mkdir(parents=True)
    (tmp_path / "data" / "sources" / "till.py").write_text(OWN)
    (tmp_path / "pipelines").mkdir()
    parts.use(tmp_path)
    yield tmp_path
    parts.adopt({})


@pytest.mark.parametrize(
    "uri", ["till://ada:gEh\te1m@h/", "till://ada:gE he1m@h/x", "till:x?to\nken=gEhe1m", "till:x?\rkey=gE"]
)
def test_blanks_do_not_hide_a_secret(till, uri):
    with pytest.raises(DataError, match="the address holds a") as caught:
        open_source(uri, till)
    assert "gE" not in str(caught.value)


def test_a_bucket_takes_its_keys_from_variables(tmp_path, monkeypatch):
    from pyarrow.fs import S3FileSystem

    monkeypatch.setenv("MY_KEY", "AKIA-mine")
    monkeypatch.setenv("MY_SECRET", "gE/he+1m=")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    opened = open_source("s3://${MY_KEY}:${MY_SECRET}@bucket/folder/", tmp_path).disk()
    assert opened.path == "bucket/folder"
    assert isinstance(opened.system, S3FileSystem)
    assert b"AKIA-mine" in pickle.dumps(opened.system)
    assert b"gE/he+1m=" in pickle.dumps(opened.system)


@pytest.mark.parametrize("scheme", sources.names())
def test_every_source_refuses_a_secret_and_does_not_show_it(scheme, tmp_path):
    for rest in (f"//ada:{SECRET}@host/x?table=t", f"//host/x?table=t&token={SECRET}", f"x::ftp://u:{SECRET}@h/"):
        with pytest.raises(DataError, match="the address holds a") as caught:
            open_source(f"{scheme}:{rest}", tmp_path)
        assert SECRET not in str(caught.value)
        assert "${NAME}" in caught.value.fix


def test_a_pipeline_with_a_secret_is_refused_with_its_line(till):
    text = f"task: classification\ncollect:\n  uri: till:x?api_key={SECRET}\npreprocess: {{target: a}}\n"
    (till / "pipelines" / "shop.yaml").write_text(text)
    with pytest.raises(PipelineError, match=r"shop.yaml:3: collect.uri: the address holds a secret") as caught:
        read_pipeline("shop", till)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.__cause__)


def test_what_the_environment_fills_in_is_not_stored(till, monkeypatch):
    """A project's own source does nothing for that; its data stay the same when the secret changes."""
    monkeypatch.setenv("TILL", SECRET)
    config = CollectConfig(uri="till:x?token=${TILL}")
    paths = Paths(till, "shop")
    assert collect.run(config, paths)["uri"] == "till:x?token=${TILL}"
    stored = [path for path in till.rglob("*") if path.is_file() and path.name != "till.py"]
    assert len(stored) >= 2
    assert all(SECRET.encode() not in path.read_bytes() for path in stored)
    table = pa.Table.from_batches(list(open_source(config.uri, till).read()))
    assert table["_origin"].to_pylist() == ["till:x?token=${TILL}#1", "till:x?token=${TILL}#2"]
    assert not collect.has_changed(config, paths)
    monkeypatch.setenv("TILL", "An0ther-Wort")
    assert not collect.has_changed(config, paths)


@pytest.mark.parametrize("uri", ["till:break?x=${TILL}", "till:break/${TILL}/x", "${WHOLE}"])
def test_an_error_that_repeats_the_address_shows_no_secret(till, monkeypatch, uri):
    monkeypatch.setenv("TILL", SECRET)
    monkeypatch.setenv("WHOLE", f"till:break://ada:{SECRET}@host")
    with pytest.raises(DataError, match="RuntimeError: cannot reach") as caught:
        list(open_source(uri, till).read())
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_variable_that_is_not_set_is_named_in_one_line(till, monkeypatch):
    monkeypatch.delenv("TILL", raising=False)
    with pytest.raises(DataError, match=r"till:x\?token=\$\{TILL\}: the environment has no TILL; .*export TILL=…$"):
        open_source("till:x?token=${TILL}", till)


def test_values_are_percent_encoded_where_a_url_wants_it(till, monkeypatch):
    monkeypatch.setenv("TILL", "p@ss/w&rd")
    monkeypatch.setenv("ALL", "sv=1&sig=a%2B")
    opened = [open_source(uri, till).name for uri in ("till://u:${TILL}@h/${TILL}?a=${TILL}", "till:x?${ALL}")]
    assert opened == ["//u:p%40ss%2Fw%26rd@h/p@ss/w&rd?a=p%40ss%2Fw%26rd", "x?sv=1&sig=a%2B"]


def test_paths_may_be_variables_and_files_may_be_called_anything(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    for name in ("here/rows.csv", "token=5 ${X}.csv"):
        (tmp_path / name).write_text("a\n1\n")
    monkeypatch.setenv("HERE", str(tmp_path / "here"))
    monkeypatch.setenv("LONG", "x" * 5000)
    assert open_source("https://host/x.csv?token=${LONG}", tmp_path).name.endswith("x" * 5000)
    for uri in ("${HERE}/rows.csv", "token=5 ${X}.csv"):
        assert len(next(iter(open_source(uri, tmp_path).read()))) == 1
    assert (
        open_source("${HERE}/rows.csv", tmp_path).fingerprint() == open_source("here/rows.csv", tmp_path).fingerprint()
    )


def test_a_query_may_compare_any_column(tmp_path):
    pytest.importorskip("adbc_driver_sqlite")
    connection = sqlite3.connect(tmp_path / "t.db")
    connection.executescript("CREATE TABLE t (key TEXT, token INT); INSERT INTO t VALUES ('x', 5)")
    connection.close()
    assert len(
        next(iter(open_source("sqlite:t.db?query=SELECT * FROM t WHERE key='x' AND token = 5", tmp_path).read()))
    )


def test_a_database_that_does_not_answer_shows_no_password(tmp_path, monkeypatch):
    pytest.importorskip("adbc_driver_postgresql")
    monkeypatch.setenv("SHOP", SECRET)
    uri = "postgresql://ada:${SHOP}@127.0.0.1:1/shop?table=orders&sslpassword=${SHOP}"
    with pytest.raises(DataError, match="port 1") as caught:
        open_source(uri, tmp_path).fingerprint()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_path_from_the_environment_is_shown_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", str(tmp_path))
    with pytest.raises(DataError, match=f"^{tmp_path}/none.csv: there is no such file"):
        open_source("${HERE}/none.csv", tmp_path)
