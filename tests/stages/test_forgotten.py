"""A row that is to be forgotten is left out, wherever it moves in its file, and goes from the request log."""

import fcntl
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.data.origin_match import count_origin
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.collect.forgotten import find_marked, find_rows, mark_forgotten, read_forgotten
from evergreen.stages.forgotten_requests import remove_requests
from evergreen.stages.request_files import COLUMNS, read_requests

CONFIG = CollectConfig(uri="people.csv")


@pytest.fixture
def paths(tmp_path):
    write(tmp_path, range(40))
    paths = Paths(tmp_path, "churn")
    collect.run(CONFIG, paths)
    return paths


def write(root: Path, ages, head: str = "name,age") -> None:
    more = ",x" * (head.count(",") - 1)
    (root / "people.csv").write_text(f"{head}\n" + "".join(f"p{age},{age}{more}\n" for age in ages))


def names(paths: Paths) -> list[str]:
    tables = [pq.read_table(path) for path in sorted(paths.raw.glob("part-*.parquet"))]
    return pa.concat_tables(tables)["name"].to_pylist()


def forget(paths: Paths, origin: str, config: CollectConfig = CONFIG) -> None:
    mark_forgotten(paths, origin, find_rows(paths, origin), config.id_columns)


def test_a_marked_row_is_left_out_by_the_next_collection(paths):
    before = (paths.raw / "source.json").read_bytes()
    assert b"forgotten" not in before
    forget(paths, "people.csv#18")
    forget(paths, "people.csv#18")
    (row,) = read_json(paths.forgotten)["rows"]
    assert (row["origin"], row["columns"]) == ("people.csv#18", ["age", "name"])
    assert "p16" not in paths.forgotten.read_text()
    assert collect.has_changed(CONFIG, paths)
    assert collect.run(CONFIG, paths)["forgotten"] == 1
    assert names(paths) == [f"p{age}" for age in range(40) if age != 16]
    assert not collect.has_changed(CONFIG, paths)
    assert len(find_rows(paths, "people.csv#18")) == 0
    source = collect.open_collected(CONFIG, paths.root)
    assert find_marked(source, read_forgotten(paths))["name"].to_pylist() == [
        "p16"
    ]  # what is logged of it may go later


def test_it_stays_out_where_it_moves_and_another_takes_its_number(paths):
    forget(paths, "people.csv#18")
    write(paths.root, [*range(5, 40), *range(5)])
    collect.run(CONFIG, paths)
    assert sorted(names(paths)) == sorted(f"p{age}" for age in range(40) if age != 16)
    write(paths.root, [age for age in range(50) if age != 16])  # the source forgot it, too: nobody else goes
    assert collect.run(CONFIG, paths).get("forgotten") is None
    assert len(names(paths)) == 49
    write(paths.root, range(40), head="name,age,city")  # a new column
    collect.run(CONFIG, paths)
    assert "p16" not in names(paths)
    assert len(names(paths)) == 39
    write(paths.root, range(40), head="name,years")  # a renamed one: by its number, then
    collect.run(CONFIG, paths)
    assert "p16" not in names(paths)


def test_a_key_is_forgotten_with_all_that_is_known_of_it(paths):
    config = CollectConfig(uri="people.csv", id_columns=["name"])
    forget(paths, "people.csv#18", config)
    with (paths.root / "people.csv").open("a") as file:
        file.write("p16,99\n")
    collect.run(config, paths)
    assert "p16" not in names(paths)
    assert len(names(paths)) == 39


def test_a_whole_file_is_forgotten_by_its_name(tmp_path):
    (tmp_path / "tables").mkdir()
    for place in ("a", "b"):
        write(tmp_path, range(30))
        (tmp_path / "people.csv").rename(tmp_path / "tables" / f"{place}.csv")
    paths, config = Paths(tmp_path, "churn"), CollectConfig(uri="tables")
    collect.run(config, paths)
    origin = pq.read_table(next(paths.raw.glob("part-*")))["_origin"][0].as_py().partition("#")[0]
    forget(paths, origin)
    assert collect.run(config, paths)["forgotten"] == 30
    assert collect.run(config, paths).get("forgotten", 0) in (0, 30)
    assert len(names(paths)) == 30
    assert count_origin(next(paths.raw.glob("part-*")), origin) == 0


def log(folder: Path, stem: str, asked: list[dict], ids: list[str | None] | None = None) -> pa.Table:
    n_rows = len(asked)
    columns = {name: pa.array([None] * n_rows, kind) for name, kind in COLUMNS.items()}
    columns |= {"request_id": pa.array([stem] * n_rows), "row": pa.array(range(n_rows), pa.int64())}
    columns["time"] = pa.array(range(n_rows), pa.timestamp("us", "UTC"))
    columns["id"] = pa.array(ids or [None] * n_rows, pa.string())
    table = pa.table(columns | {"asked": asked, "answered": [{"prediction": 1.0}] * n_rows})
    place = folder / "2026-01-01" / f"{stem}.parquet"
    place.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, place)
    return table


def test_what_was_asked_with_its_values_or_id_goes_with_its_labels(paths):
    folder, row = paths.requests, find_rows(paths, "people.csv#18")
    one, other = {"age": 16.0, "city": "x"}, {"age": 17.0, "city": "x"}
    log(folder, "a", [one, other, one])
    log(folder, "b", [one])
    log(folder, "c", [other, other], ids=["p16", "p17"])
    (folder / "labels").mkdir()
    labels = {"request_id": ["a", "a", "b"], "row": [0, 1, 0], "label": [1, 2, 3]}
    pq.write_table(pa.table(labels), folder / "labels" / "1.parquet")
    assert remove_requests(folder, row, "name") == (4, 0)
    left = [(one["request_id"], one["row"]) for table in read_requests(folder) for one in table.to_pylist()]
    assert sorted(left) == [("a", 1), ("c", 1)]
    assert pq.read_table(folder / "labels" / "1.parquet")["label"].to_pylist() == [2]
    assert not (folder / "2026-01-01" / "b.parquet").exists()
    assert remove_requests(folder, row, "name") == (0, 0)


def test_of_a_journal_that_is_being_written_it_tells(paths):
    table = log(paths.requests, "a", [{"age": 16.0}, {"age": 1.0}])
    (paths.requests / "2026-01-01" / "a.parquet").unlink()
    journal = paths.requests / "journal" / "2026-01-02.b.arrows"
    journal.parent.mkdir()
    with journal.open("wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    row = find_rows(paths, "people.csv#18")
    with journal.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_requests(paths.requests, row) == (0, 1)
    assert remove_requests(paths.requests, row) == (1, 0)
    assert sum(map(len, read_requests(paths.requests))) == 1


def test_rows_without_a_common_column_and_pictures_are_left_alone(paths):
    picture = pa.array([np.zeros(3).tolist()])
    log(paths.requests, "a", [{"image": [0.0, 0.0, 0.0]}])
    assert remove_requests(paths.requests, pa.table({"image": picture})) == (0, 0)
    assert remove_requests(paths.requests, pa.table({"other": [1]})) == (0, 0)
    assert json.dumps([len(table) for table in read_requests(paths.requests)]) == "[1]"
