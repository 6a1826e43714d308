"""Every source says where each row came from; dirty files are read as they are or refused with place and fix."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.core.errors import DataError
from evergreen.data import sources
from evergreen.data.sources import open_source
from evergreen.data.sources.csv import detect_delimiter

HERE = Path(".")


def read(uri: str, root: Path = HERE) -> pa.Table:
    return pa.Table.from_batches(list(open_source(uri, root).read()))


@pytest.fixture
def csv(tmp_path):
    def write(content: bytes | str, name: str = "t.csv") -> pa.Table:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(name, tmp_path)

    return write


@pytest.mark.parametrize("name", sources.names())
def test_every_source_keeps_the_contract(name):
    source = sources.find(name, "the test")
    assert issubclass(source, sources.Source)
    assert source is not sources.Source


@pytest.mark.parametrize(
    ("uri", "rows", "columns"),
    [
        ("sklearn:digits", 1797, ["image", "digit"]),
        ("sklearn:breast_cancer", 569, [None] * 30 + ["diagnosis"]),
        ("sklearn:diabetes", 442, [None] * 10 + ["progression"]),
        ("sklearn:iris", 150, ["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm", "species"]),
        ("statsmodels:sunspots", 309, ["year", "activity"]),
        ("statsmodels:elnino", 732, ["month", "temperature"]),
        ("statsmodels:co2", 2284, ["time", "co2"]),
    ],
)
def test_shipped_data_sets(uri, rows, columns):
    table = read(uri)
    assert len(table) == rows
    names = [name for name in table.column_names if name != "_origin"]
    assert [None if wanted is None else name for name, wanted in zip(names, columns, strict=True)] == columns
    assert table["_origin"][17].as_py() == f"{uri}#17"
    assert open_source(uri, HERE).fingerprint() == open_source(uri, HERE).fingerprint()


def test_digits_are_images_and_diagnoses_are_words():
    digits = read("sklearn:digits")
    assert digits.schema.field("image").type.shape == [8, 8]
    assert set(digits["digit"].to_pylist()) == set(range(10))
    assert set(read("sklearn:breast_cancer")["diagnosis"].to_pylist()) == {"malignant", "benign"}


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("sklearn:digit", "did you mean 'digits'"),
        ("statsmodels:sunspot", "did you mean 'sunspots'"),
        ("sklern:digits", "there is no source for 'sklern'; did you mean 'sklearn'"),
        ("nothing.csv", "there is no such file"),
        ("", "holds no readable file"),
    ],
)
def test_what_cannot_be_opened(uri, says, tmp_path):
    with pytest.raises(DataError, match=says) as caught:
        read(uri, tmp_path)
    assert caught.value.fix


def test_an_unknown_ending(tmp_path):
    (tmp_path / "t.xyz").write_bytes(b"x")
    with pytest.raises(DataError, match="there is no source for 'xyz'"):
        read("t.xyz", tmp_path)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_delimiters_and_line_ends(csv, mark, encoding, end):
    lines = [["städte", "wert"], ["Köln", "1,5" if mark != "," else "1.5"], ["Ulm", "2"]]
    table = csv(end.join(mark.join(line) for line in lines).encode(encoding))
    assert table.column_names == ["städte", "wert", "_origin", "_fault"]
    assert table["städte"].to_pylist() == ["Köln", "Ulm"]
    assert table["_origin"].to_pylist() == ["t.csv#2", "t.csv#3"]
    assert table["_fault"].null_count == 2


def test_quoted_newlines_blank_lines_and_one_column(csv):
    table = csv('a,b\n\n"one\ntwo",1\n"say ""hi""",2\n')
    assert table["a"].to_pylist() == ["one\ntwo", 'say "hi"']
    assert table["_origin"].to_pylist() == ["t.csv#3", "t.csv#5"]
    assert csv("a\n1\n2\n")["a"].to_pylist() == ["1", "2"]


def test_ragged_rows_are_kept_with_their_line_and_fault(csv):
    table = csv("a,b\n1,2\n3\n4,5,6\n7,8\n")
    assert table["_fault"].to_pylist() == [None, "1 fields where 2 belong: 3", "3 fields where 2 belong: 4,5,6", None]
    assert table["_origin"].to_pylist() == ["t.csv#2", "t.csv#3", "t.csv#4", "t.csv#5"]
    assert table["a"].to_pylist() == ["1", None, None, "7"]


def test_tabs_by_ending(csv):
    assert csv("a\tb\n1\t2\n", "t.tsv")["b"].to_pylist() == ["2"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"a,b,a\n1,2,3\n", "line 1: two columns are called 'a'"),
        (b"a,_id\n1,2\n", "column name '_id' is reserved"),
        (b"1,2\n3,4\n", "the first line holds numbers"),
        (b"PAR1\x00\x00\x01,\x00", "the file is not text"),
        (b"\xff\xfea", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(csv, content, says):
    with pytest.raises(DataError, match=says) as caught:
        csv(content)
    assert "t.csv" in caught.value.place
    assert caught.value.fix


def test_a_header_alone_is_a_table_without_rows(csv):
    assert csv("a,b\n").num_rows == 0


def test_the_delimiter_is_the_one_that_agrees():
    assert detect_delimiter("a;b;c\n1,5;2,5;3\n4,5;1;2\n") == ";"
    assert detect_delimiter("name\nx\n") == ","


def test_many_rows_come_in_bounded_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ROWS", 10)
    (tmp_path / "t.csv").write_text("a\n" + "1\n" * 25)
    assert [len(batch) for batch in open_source("t.csv", tmp_path).read()] == [10, 10, 5]


def test_parquet_files_and_folders(tmp_path):
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    (tmp_path / "many").mkdir()
    for name in ("2.parquet", "1.parquet"):
        pq.write_table(table, tmp_path / "many" / name)
    assert read("many/1.parquet", tmp_path)["_origin"].to_pylist() == ["1.parquet#0", "1.parquet#1"]
    assert read("many", tmp_path)["_origin"].to_pylist() == [f"{n}.parquet#{i}" for n in (1, 2) for i in (0, 1)]


def test_parquet_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and then nothing of it PAR1")
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "none").mkdir()
    (tmp_path / "two").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "two" / "1.parquet")
    pq.write_table(pa.table({"b": [1]}), tmp_path / "two" / "2.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"]), tmp_path / "twice.parquet")
    whole = tmp_path / "two" / "1.parquet"
    (tmp_path / "half.parquet").write_bytes(whole.read_bytes()[:-20])
    for uri, says in {
        "bad.parquet": "not a readable Parquet file",
        "half.parquet": "not a readable Parquet file",
        "empty.parquet": "not a readable Parquet file",
        "none": "holds no readable file",
        "two": "its columns differ",
        "twice.parquet": "two columns are called 'a'",
    }.items():
        with pytest.raises(DataError, match=says):
            read(uri, tmp_path)


def test_a_fingerprint_changes_with_the_content_alone(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    before = open_source("t.csv", tmp_path).fingerprint()
    path.touch()
    assert open_source("t.csv", tmp_path).fingerprint() == before
    path.write_text("a\n2\n")
    assert open_source("t.csv", tmp_path).fingerprint() != before


ONE_MORE = '''
"""Words of a sentence: `words:the cat sat`."""

import pyarrow as pa

from evergreen.data import sources


class WordsSource(sources.Source):
    def read(self):
        table = pa.table({"word": self.name.split()})
        yield from sources.with_origin(table, "words").to_batches()

    def fingerprint(self):
        return self.name
'''


def test_one_more_source_is_one_more_file(monkeypatch):
    monkeypatch.setattr("evergreen.core.parts._project", {"sources/words": ONE_MORE})
    assert read("words:the cat sat")["word"].to_pylist() == ["the", "cat", "sat"]


def test_types_of_other_writers_become_plain(tmp_path):
    table = pa.table({"a": pa.array(["x"], pa.string_view()), "b": pa.array(["y"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read("t.parquet", tmp_path).schema.types == [pa.string()] * 3
