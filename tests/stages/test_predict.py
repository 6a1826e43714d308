"""Batch prediction: what is written is whole, and what cannot be answered is one message and no file."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.core.errors import UserError
from evergreen.core.paths import Paths
from evergreen.data import prepared
from evergreen.stages.engines import versions
from evergreen.stages.predict.batch import predict


@pytest.fixture
def ask(candidates, monkeypatch, tmp_path):
    """Answers a file with the candidate of a pipeline as if it were released."""
    monkeypatch.setattr(
        versions, "released", lambda root: {"digits": "v1.0.0", "diabetes": "v1.0.0", "sunspots": "v1.0.0"}
    )
    monkeypatch.setattr(versions, "checkout", lambda paths, version: paths.candidate)

    def asked(name, source, output="out.csv", **options):
        return predict(Paths(candidates, name), source, tmp_path / output, **options)

    return asked


def written(folder, name, lines):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def series(folder, rows, name="series.csv"):
    return written(folder, name, ["year,activity", *rows])


KNOWN = [f"{1700 + year},{20 + 5 * (year % 11)}" for year in range(30)]


def test_years_to_come_are_foretold_and_early_ones_are_not(ask, tmp_path):
    ask("sunspots", series(tmp_path, [*KNOWN, "1730,", "1731,", "1732,"]))
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["year"] for row in rows] == [str(year) for year in range(1700, 1733)]
    assert all(row["prediction"] == "" for row in rows[:12])
    assert all(float(row["prediction"]) for row in rows[12:])
    assert [row["activity"] for row in rows[-3:]] == ["", "", ""]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([*KNOWN, "soon,"], "'year': holds something that is not a time"),
        ([*KNOWN, "1729,3"], "'year': a time occurs twice"),
        ([*KNOWN, ",3"], "'year': a time is missing"),
        ([*KNOWN, "1730,many"], "#32: activity: not a number"),
        ([*KNOWN[:11], "1711,"], "no row has the 12 known values before it"),
        ([f"{year}," for year in range(1700, 1730)], "no row has the 12 known values before it"),
    ],
)
def test_a_series_that_cannot_be_read_names_its_file(ask, tmp_path, rows, says):
    with pytest.raises(ValueError, match=says) as caught:
        ask("sunspots", series(tmp_path, rows))
    assert "series.csv" in str(caught.value)
    assert caught.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["series.csv"]


@pytest.mark.parametrize("name", ["sunspots", "diabetes"])
def test_a_missing_column_is_named_among_the_files_own(ask, tmp_path, name):
    with pytest.raises(ValueError, match=r"there is no column .*known: year, size$"):
        ask(name, written(tmp_path, "other.csv", ["year,size", "1,2"]))
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("empty.csv", b"", "the file is empty"),
        ("corrupt.parquet", b"PAR1 no more than that", "not a readable Parquet file"),
        ("text.csv", b"year,activity\n1700,5\n1701,many\n", "text.csv#3: activity: not a number"),
        ("nowhere.csv", None, "no such file"),
    ],
)
def test_a_bad_file_leaves_what_was_there(ask, tmp_path, name, data, says):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(UserError, match=says):
        ask("sunspots", tmp_path / name)
    assert (tmp_path / "out.csv").read_text() == "before"
    assert not list(tmp_path.glob(".out*"))


def test_pictures_are_json_in_csv_and_themselves_in_parquet(ask, candidates, tmp_path):
    table = prepared.read(Paths(candidates, "digits").ready, "test").select(["image"]).slice(0, 5)
    pq.write_table(table, tmp_path / "images.parquet")
    ask("digits", tmp_path / "images.parquet")
    with (tmp_path / "out.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [json.loads(row["image"]) for row in read] == table["image"].combine_chunks().to_numpy_ndarray().tolist()
    ask("digits", tmp_path / "images.parquet", "out.parquet")
    answers = pq.read_table(tmp_path / "out.parquet")
    assert answers.column_names == ["image", "prediction", *(f"p_{digit}" for digit in range(10))]
    assert answers.column("prediction").type == pa.int64()


def test_the_file_to_answer_is_not_written_over(ask, tmp_path):
    source = series(tmp_path, KNOWN, "out.csv")
    before = source.read_bytes()
    with pytest.raises(ValueError, match="is the input file; name another"):
        ask("sunspots", source)
    assert source.read_bytes() == before


def test_no_text_of_the_input_runs_in_a_spreadsheet(ask, candidates, tmp_path):
    table = prepared.read(Paths(candidates, "diabetes").ready, "test").slice(0, 2)
    table = table.select([name for name in table.column_names if name[0] != "_"])
    table = table.append_column("=note", pa.array(["=cmd|'/c calc'!A0", "-5"]))
    pq.write_table(table, tmp_path / "in.parquet")
    assert ask("diabetes", tmp_path / "in.parquet")["neutralised"] == 2
    with (tmp_path / "out.csv").open(newline="") as file:
        safe = list(csv.DictReader(file))
    assert [row["'=note"] for row in safe] == ["'=cmd|'/c calc'!A0", "-5"]
    assert ask("diabetes", tmp_path / "in.parquet", raw=True)["neutralised"] == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        exact = list(csv.DictReader(file))
    assert [row["=note"] for row in exact] == table["=note"].to_pylist()
    numbers = [name for name in exact[0] if name != "=note"]
    assert [[row[name] for name in numbers] for row in exact] == [[row[name] for name in numbers] for row in safe]
    assert ask("diabetes", tmp_path / "in.parquet", "out.parquet")["neutralised"] == 0
    assert pq.read_table(tmp_path / "out.parquet")["=note"].to_pylist() == table["=note"].to_pylist()


def test_a_file_is_read_in_the_pipeline_s_encoding_or_the_guess_is_told(ask, candidates, tmp_path):
    table = prepared.read(Paths(candidates, "diabetes").ready, "test").slice(0, 3)
    names = [name for name in table.column_names if not name.startswith("_")]
    lines = [
        ",".join(["who", *names]),
        *(",".join(["Ναι", *map(str, row.values())]) for row in table.select(names).to_pylist()),
    ]
    source = tmp_path / "rows.csv"
    source.write_bytes("\n".join(lines).encode("cp1253"))
    (told,) = [note for note in ask("diabetes", source)["notes"] if "is read as" in note]
    assert told.startswith("rows.csv is read as ")
    file = candidates / "pipelines" / "diabetes.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text("task: regression\ncollect: {uri: x.csv, encoding: cp1253}\npreprocess: {target: progression}\n")
    try:
        assert not [note for note in ask("diabetes", source)["notes"] if "is read as" in note]
    finally:
        file.unlink()
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("Ναι,")
