"""Collecting is whole or did not happen, and notices that a source changed."""

import pyarrow.parquet as pq
import pytest

from evergreen.core.errors import DataError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import manifest
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,x\n2,y\n" * 10)
    return Paths(tmp_path, "t")


def test_rows_and_their_origin(paths):
    said = []
    result = collect.run(CollectConfig(uri="t.csv"), paths, progress=lambda **facts: said.append(facts))
    assert result["rows"] == 20
    table = pq.read_table(paths.raw / "part-00000.parquet")
    assert table["_origin"][0].as_py() == "t.csv#2"
    record = read_json(paths.raw / "source.json")
    assert (record["uri"], record["rows"]) == ("t.csv", 20)
    assert said[-1] == {"stage": "collect", "rows": 20}


def test_the_same_source_gives_the_same_bytes(paths):
    collect.run(CollectConfig(uri="sklearn:digits"), paths)
    before = folder_version(paths.raw)
    collect.run(CollectConfig(uri="sklearn:digits"), paths)
    assert folder_version(paths.raw) == before


def test_many_rows_become_many_files(paths, monkeypatch):
    from evergreen.data import sources

    monkeypatch.setattr(sources, "ROWS", 3)
    monkeypatch.setattr(manifest, "ROWS", 6)
    collect.run(CollectConfig(uri="t.csv"), paths)
    assert [pq.read_metadata(path).num_rows for path in sorted(paths.raw.glob("part-*"))] == [6, 6, 6, 2]
    assert pq.ParquetDataset(sorted(paths.raw.glob("part-*"))).read()["a"].to_pylist() == ["1", "2"] * 10


def test_a_changed_source_is_noticed(paths):
    params = CollectConfig(uri="t.csv")
    assert collect.has_changed(params, paths)
    collect.run(params, paths)
    assert not collect.has_changed(params, paths)
    assert collect.has_changed(CollectConfig(uri="sklearn:digits"), paths)
    with (paths.root / "t.csv").open("a") as file:
        file.write("3,z\n")
    assert collect.has_changed(params, paths)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b""),
        ("t.csv", b"a,b\n"),
        ("t.csv", b"a,a\n1,2\n"),
        ("t.csv", b'a,b\n1,"never closed\n' + b"x" * (1 << 25)),
        ("t.parquet", b"PAR1 broken PAR1"),
        ("gone.csv", None),
    ],
)
def test_a_bad_source_is_one_clear_error_and_loses_nothing(paths, name, content):
    collect.run(CollectConfig(uri="t.csv"), paths)
    before = folder_version(paths.raw)
    if content is not None:
        (paths.root / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        collect.run(CollectConfig(uri=name), paths)
    assert name in caught.value.place
    assert caught.value.fix
    assert folder_version(paths.raw) == before
    assert [path.name for path in paths.raw.parent.iterdir()] == ["raw"]


def test_with_faulty_only_files_with_rows_that_could_not_be_read_are_read_again(tmp_path, monkeypatch):
    from evergreen.data.sources import csv

    folder = tmp_path / "days"
    folder.mkdir()
    for day in range(4):
        (folder / f"{day}.csv").write_text("a,b\n1,x\n" + ("2\n" if day == 2 else "2,y\n"))
    paths, params = Paths(tmp_path, "t"), CollectConfig(uri="days")
    assert collect.run(params, paths)["rows"] == 8
    whole, opened = csv.CsvParser.batch, []

    def mended(table, rows):
        opened.append(table.name)
        return whole(table, [([*row, "y"][:2], line, fault) for row, line, fault in rows])

    monkeypatch.setattr(csv.CsvParser, "batch", mended)
    collect.run(params, paths)
    assert not opened
    assert collect.run(params, paths, faulty=True)["files changed"] == 1
    assert set(opened) == {"2.csv"}
    table = pq.ParquetDataset(sorted(paths.raw.glob("part-*"))).read()
    assert (sorted(table["b"].to_pylist()), table["_fault"].null_count) == (["x"] * 4 + ["y"] * 4, 8)


def test_files_of_one_source_have_the_same_columns_whenever_they_came(tmp_path):
    (tmp_path / "days").mkdir()
    (tmp_path / "days" / "0.csv").write_text("a,b\n1,x\n")
    paths, params = Paths(tmp_path, "t"), CollectConfig(uri="days")
    collect.run(params, paths)
    (tmp_path / "days" / "1.csv").write_text("a,c\n1,x\n")
    with pytest.raises(DataError, match="'c' is new, 'b' is missing"):
        collect.run(params, paths)


def test_a_file_may_come_to_have_another_column(paths):
    params = CollectConfig(uri="t.csv")
    collect.run(params, paths)
    (paths.root / "t.csv").write_text("a,b,c\n1,x,z\n")
    assert collect.run(params, paths)["rows"] == 1
    assert "c" in pq.ParquetDataset(sorted(paths.raw.glob("part-*"))).read().column_names
