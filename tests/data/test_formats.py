"""JSON lines, Arrow files, saved data sets, compressed tables and SQLite give the same rows, with their origins."""

import bz2
import gzip
import json
import lzma
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather as feather
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evergreen.core.errors import DataError
from evergreen.data.sources import csv, jsonl, open_source

TABLE = pa.table({"a": [1, 2, 3], "b": pa.array(["x", "y", "x"]).dictionary_encode()})
ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 3, "b": "x"}]


def read(uri: str, root: Path) -> pa.Table:
    return pa.Table.from_batches(list(open_source(uri, root).read()))


def plain(table: pa.Table) -> list[dict]:
    return table.drop_columns([name for name in table.column_names if name[0] == "_"]).to_pylist()


@pytest.mark.parametrize("name", ["t.feather", "t.arrow", "stream.arrow", "packed.arrow.gz", "t.jsonl", "t.ndjson.xz"])
def test_a_file_of_each_format(tmp_path, name):
    path, lines = tmp_path / name, "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if name == "t.feather":
        feather.write_feather(TABLE, path, compression="zstd")
    elif name.endswith((".arrow", ".arrow.gz")):
        sink = pa.BufferOutputStream()
        new = pa.ipc.new_file if name == "t.arrow" else pa.ipc.new_stream
        with new(sink, TABLE.schema) as writer:
            writer.write_table(TABLE)
        held = sink.getvalue().to_pybytes()
        path.write_bytes(gzip.compress(held) if name.endswith(".gz") else held)
    else:
        path.write_bytes(lzma.compress(lines) if name.endswith(".xz") else lines)
    table = read(name, tmp_path)
    assert plain(table) == ROWS
    first = 1 if "json" in name else 0  # a line counts from 1, a row from 0
    assert table["_origin"].to_pylist() == [f"{name}#{row}" for row in range(first, first + 3)]


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst", "lz4", "xz"])
def test_compressed_tables_in_one_folder(tmp_path, kind):
    content = b"a,b\n1,x\n2,y\n"
    packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(kind)
    if packed:
        held = packed(content)
    else:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, {"zst": "zstd", "lz4": "lz4"}[kind]) as stream:
            stream.write(content)
        held = sink.getvalue().to_pybytes()
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / f"1.csv.{kind}").write_bytes(held)
    (tmp_path / "in" / "deep" / "2.CSV").write_bytes(content)
    table = read("in", tmp_path)
    assert table["a"].to_pylist() == ["1", "2"] * 2
    assert table["_origin"].to_pylist()[1:3] == [f"1.csv.{kind}#3", "deep/2.CSV#2"]
    (tmp_path / "in" / f"1.csv.{kind}").write_bytes(held[:-6])
    with pytest.raises(DataError, match="cannot be read") as caught:
        read("in", tmp_path)
    assert f"1.csv.{kind}" in caught.value.place


def save_to_disk(folder: Path) -> None:
    """As Hugging Face's `datasets` writes one data set."""
    folder.mkdir(parents=True)
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), TABLE.schema) as writer:
        writer.write_table(TABLE)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "dataset_info.json").write_text("{}")
    (folder / "cache-0.arrow").write_bytes(b"an old one that the state does not list")


def test_a_saved_hugging_face_data_set_and_its_splits(tmp_path):
    for split in ("train", "test"):
        save_to_disk(tmp_path / "set" / split)
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    assert plain(read("set/train", tmp_path)) == ROWS
    table = read("set", tmp_path)
    assert table["split"].to_pylist() == ["train"] * 3 + ["test"] * 3
    assert table["_origin"][4].as_py() == "test/data-00000-of-00001.arrow#1"


def test_classes_and_pictures_of_a_saved_data_set(tmp_path):
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"label": [1, 0, -1, None], "image": pa.array([{"bytes": b"png", "path": None}] * 4, picture)}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    feather.write_feather(table, tmp_path / "t.arrow")
    found = read("t.arrow", tmp_path)
    assert found["label"].to_pylist() == ["dog", "cat", None, None]
    assert found["image"].to_pylist() == [b"png"] * 4


def test_a_delta_table_and_its_versions(tmp_path):
    delta = pytest.importorskip("deltalake")
    delta.write_deltalake(str(tmp_path / "t"), pa.table({"a": [1, 2]}))
    before = open_source("delta:t", tmp_path).fingerprint()
    delta.write_deltalake(str(tmp_path / "t"), pa.table({"a": [3]}), mode="append")
    delta.DeltaTable(str(tmp_path / "t")).delete("a = 1")
    assert sorted(read("delta:t", tmp_path)["a"].to_pylist()) == [2, 3]
    assert read("delta:t?version=0", tmp_path)["a"].to_pylist() == [1, 2]
    assert open_source("delta:t", tmp_path).fingerprint() != before
    for uri, says in {
        "delta:none": "there is no Delta table",
        "delta:t?version=9": "version",
        "delta:t?v": "is not a valid option",
    }.items():
        with pytest.raises(DataError, match=says):
            read(uri, tmp_path)


def lines(tmp_path: Path, text: str) -> pa.Table:
    (tmp_path / "t.jsonl").write_text(text)
    return read("t.jsonl", tmp_path)


def test_objects_in_objects_are_columns(tmp_path):
    table = lines(tmp_path, '{"a": {"b": 1, "c": {"d": "x"}}, "l": [{"q": 1}], "s": {"t": [1]}}\n{"a": null}\n')
    assert plain(table) == [
        {"a.b": 1, "a.c.d": "x", "l": [{"q": 1}], "s.t": [1]},
        {"a.b": None, "a.c.d": None, "l": None, "s.t": None},
    ]


def test_values_of_several_types_are_text_as_they_were_written(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK", 1)  # a block a line: what is a number in one is text in another
    table = lines(tmp_path, '{"a": 1, "t": "2026-01-01"}\n{"a": "x"}\n{"a": true}\n{"a": 1.50}\n{"b": 2}\n{"b": 2.5}\n')
    assert table["a"].to_pylist() == ["1", "x", "true", "1.5", None, None]
    assert table["b"].to_pylist()[-2:] == [2.0, 2.5]
    assert table["t"][0].as_py() == "2026-01-01"


@pytest.fixture
def database(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as held:
        held.execute("CREATE TABLE orders (id INTEGER, note TEXT, mixed, price)")
        rows = [(n, None if n < 2000 else f"n{n}", n if n < 1500 else "x", n if n % 2 else n / 2) for n in range(2500)]
        held.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows)
    return tmp_path


def test_sqlite_values_of_any_type_anywhere_in_a_column(database):
    table = read("sqlite:shop.db", database)
    assert table.schema.types == [pa.int64(), pa.string(), pa.string(), pa.float64(), pa.string()]
    last = {"id": 2499, "note": "n2499", "mixed": "x", "price": 2499.0, "_origin": "orders#2499"}
    assert table.to_pylist()[-1] == last
    some = read("sqlite:shop.db?query=SELECT id, price + 1 AS more FROM orders WHERE id < 3;", database)
    assert plain(some) == [{"id": 0, "more": 1.0}, {"id": 1, "more": 2.0}, {"id": 2, "more": 2.0}]
    narrow = open_source("sqlite:shop.db", database).with_range("id", 2, 5)
    assert pa.Table.from_batches(list(narrow.read()))["id"].to_pylist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("sqlite:shop.db?table=order", "there is no table 'order'; did you mean 'orders'"),
        ("sqlite:none.db", "there is no such file"),
        ("sqlite:shop.db?query=SELECT nowhere FROM orders", "no such column: nowhere"),
        ("sqlite:shop.db?query=DROP TABLE orders", "syntax error"),
    ],
)
def test_what_sqlite_cannot_give(database, uri, says):
    with pytest.raises(DataError, match=says) as caught:
        read(uri, database)
    assert caught.value.fix


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab,\"'\t \n\r1é;", max_size=12), max_size=12), st.sampled_from(["\n", "\r\n"]))
@example(["1,2\r3,4", "", "5,6"], "\n")
@example(['1","'], "\n")
def test_arrow_and_python_read_a_table_alike(tmp_path_factory, rows, end):
    folder = tmp_path_factory.getbasetemp()
    (folder / "p.csv").write_text(f"a,b{end}{end.join(rows)}{end}", newline="")

    def found() -> object:
        try:
            return read("p.csv", folder).to_pylist()
        except DataError as error:
            return str(error)

    fast, rule = found(), csv._line_is_row
    try:
        csv._line_is_row = lambda *_: False
        assert found() == fast
    finally:
        csv._line_is_row = rule
