"""Workbooks, JSON documents and nested objects become tables; what cannot is one clear error."""

import datetime as dt
import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import kinds, sources
from evergreen.data.prepare.infer import detect_kind, infer_schema
from evergreen.data.sources import open_source

RECORDS = [{"n": n, "word": "ab"[n % 2], "deep": {"x": n / 2}} for n in range(6)]


def read(path: Path) -> pa.Table:
    return pa.Table.from_batches(list(open_source(path.name, path.parent).read()))


def rows(path: Path) -> list[dict[str, object]]:
    table = read(path)
    return table.drop_columns([name for name in ("_origin", "_fault") if name in table.column_names]).to_pylist()


FLAT = [{"n": one["n"], "word": one["word"], "deep.x": one["deep"]["x"]} for one in RECORDS]
PLAIN = [{"n": one["n"], "word": one["word"]} for one in RECORDS]
BY_COLUMN = {name: [row[name] for row in PLAIN] for name in ("n", "word")}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (RECORDS, FLAT),
        ({"data": RECORDS}, FLAT),
        ({"data": RECORDS, "count": 6, "columns": None}, FLAT),
        ({"meta": {"page": 1}, "results": RECORDS}, FLAT),
        ({"response": {"items": RECORDS}}, FLAT),
        (BY_COLUMN, PLAIN),
        ({"data": BY_COLUMN}, PLAIN),
        ({name: dict(zip("012345", values, strict=True)) for name, values in BY_COLUMN.items()}, PLAIN),
        ({f"r{n}": row for n, row in enumerate(PLAIN)}, PLAIN),
        ({"columns": ["n", "word"], "index": [*range(6)], "data": [[*row.values()] for row in PLAIN]}, PLAIN),
        ([["n", "word"], *([*row.values()] for row in PLAIN)], PLAIN),
    ],
    ids=[
        *("records", "data", "data beside others", "results", "inside an object", "columns", "columns in data"),
        *("pandas columns", "pandas index", "pandas split", "lists"),
    ],
)
def test_json_documents_become_rows(document, expected, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document, indent=1))
    assert rows(path) == expected
    assert read(path)["_origin"][1].as_py() == "t.json#2"


def test_json_beside_other_files_is_not_what_a_folder_holds(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("info", "state", "more"):
        (tmp_path / "in" / f"{name}.json").write_text(json.dumps(PLAIN))
    assert len(read(tmp_path / "in")) == 18
    (tmp_path / "in" / "t.csv").write_text("a,b\n1,2\n")
    assert rows(tmp_path / "in") == [{"a": "1", "b": "2"}]


def test_lines_may_be_called_json(tmp_path):
    (tmp_path / "t.json").write_text("\n".join(map(json.dumps, RECORDS)) + "\n")
    assert rows(tmp_path / "t.json") == FLAT


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ('[{"n": 1},', "is not JSON"),
        ('{"n": 1', "is not JSON"),
        ("3", "holds no rows"),
        ("{}", "holds no rows"),
        ('{"a": {"b": 1}, "c": 2}', "holds no rows"),
        ('[{"n": 1, "n": 2}]', "'n' stands there twice"),
    ],
)
def test_json_without_rows_is_one_error(text, says, tmp_path):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path / "t.json")
    assert "t.json" in caught.value.place
    assert "CSV" in caught.value.fix


def test_a_row_of_json_that_is_no_object_is_set_aside(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps([*PLAIN, 3]))
    table = read(tmp_path / "t.json")
    assert table["_fault"].to_pylist() == [None] * 6 + ["no object: 3"]


def nested(**user: object) -> list[dict[str, object]]:
    return [
        {"user": {"age": 20 + n, "tags": ["a", "b"][: n % 3], **user}, "score": n / 7, "won": bool(n % 2)}
        for n in range(60)
    ]


def lines(path: Path, records: list[dict[str, object]]) -> pa.Table:
    path.write_text("\n".join(map(json.dumps, records)))
    return read(path)


def test_a_list_in_an_object_does_not_cost_the_object(tmp_path):
    records = nested(home={"city": "Rome", "rooms": [1, 2]})
    for record in records:
        record["user"]["tags"] *= 2  # type: ignore[index,operator]
    table = lines(tmp_path / "t.jsonl", records)
    schema = infer_schema(table, "won", "category")
    assert schema.inputs["user.age"] == "number"
    assert schema.inputs["user.tags"] == "labels"
    assert {"user.home.city", "user.home.rooms", "score"} <= set(table.column_names)


def test_a_list_of_objects_is_left_out_by_name(tmp_path):
    records = nested(orders=[{"sku": "x", "price": 3}])
    schema = infer_schema(lines(tmp_path / "t.jsonl", records), "won", "category")
    assert "user.age" in schema.inputs
    assert any("'user.orders' is left out" in note for note in schema.notes)


def test_a_sound_in_an_object_stays_whole(tmp_path):
    records = [{"call": {"sound": {"samples": [0.1, 0.2, 0.3], "rate": 8000}, "line": n}, "won": "y"} for n in range(9)]
    table = lines(tmp_path / "t.jsonl", records)
    assert detect_kind("call.sound", table["call.sound"].combine_chunks()) == "audio"
    assert table["call.line"].to_pylist() == [*range(9)]


def test_objects_with_lists_in_some_rows_alone_are_divided_alike(tmp_path):
    records = nested()
    records[0] = {"score": 0.0, "won": True}
    records[1]["user"] = {"age": 3}
    table = lines(tmp_path / "t.jsonl", records)
    assert table["user.age"].to_pylist()[:3] == [None, 3, 22]
    assert table["user.tags"].to_pylist()[:3] == [None, None, ["a", "b"]]


def test_an_input_without_labels_keeps_its_row():
    kind = kinds.find("labels")
    column, faults = kind.validate(pa.array([["a"], None, ["b"], []]))
    field = kind.fit({"tags": column})
    assert kind.ALLOWS_MISSING
    assert not faults
    assert kind.encode(field, [column]).tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]
    assert kind.from_json(field, 0, None) is None
    assert kind.from_json(kind.fit({"tags": column.drop_null()}), 0, None) is None  # training rows had none without


@pytest.fixture
def workbook(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")

    def write(*lines: list[object], before: int = 0, name: str = "t.xlsx") -> Path:
        book = openpyxl.Workbook()
        sheet = book.create_sheet("rows") if before else book.active
        for _ in range(before):
            sheet.append([])
        for line in lines:
            sheet.append(line)
        book.save(tmp_path / name)
        return tmp_path / name

    return write


def test_a_workbook_keeps_its_types(workbook):
    day = dt.datetime(2024, 3, 1)
    path = workbook(
        ["n", "share", "who", "day", "ok", "mixed", None],
        [1, 0.5, "Ann", day, True, 1, None],
        [2, 1, " Zoë", day.replace(hour=5), False, "x", None],
        [],
        [3, None, None, None, None, 2.5, None],
    )
    table = read(path)
    assert rows(path) == [
        {"n": 1, "share": 0.5, "who": "Ann", "day": day, "ok": True, "mixed": "1"},
        {"n": 2, "share": 1.0, "who": " Zoë", "day": day.replace(hour=5), "ok": False, "mixed": "x"},
        {"n": 3, "share": None, "who": None, "day": None, "ok": None, "mixed": "2.5"},
    ]
    assert table["_origin"].to_pylist() == ["t.xlsx#2", "t.xlsx#3", "t.xlsx#5"]


def test_the_first_sheet_with_rows_counts(workbook):
    path = workbook(["a", None, "b"], [1, 2, 10**20], [3, 4, 1], before=2)
    table = read(path)
    assert table.column_names == ["a", "unnamed_2", "b", "_origin"]
    assert table["b"].to_pylist() == [1e20, 1.0]
    assert table["_origin"].to_pylist()[0] == "t.xlsx#4"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"name,size\n", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_what_is_no_workbook_is_one_error(content, tmp_path):
    pytest.importorskip("openpyxl")
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(DataError, match="not a readable Excel file") as caught:
        read(tmp_path / "t.xlsx")
    assert "CSV" in caught.value.fix


def test_an_empty_workbook_is_one_error(workbook):
    with pytest.raises(DataError, match="the file is empty"):
        read(workbook())


def test_two_columns_of_one_name_in_a_workbook(workbook):
    with pytest.raises(DataError, match="two columns are called 'a'"):
        read(workbook(["a", "a"], [1, 2]))


@pytest.mark.parametrize("name", ["t.xlsx", "in"])
def test_without_the_extra_the_message_names_it(name, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(sources, "find_spec", lambda module: None if module == "openpyxl" else find(module))
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    if name == "in":
        place.mkdir()
        place = place / "t.xlsx"
    place.touch()
    with pytest.raises(DataError, match=r"openpyxl is not installed") as caught:
        open_source(name, tmp_path)
    assert caught.value.fix == "pip install 'evergreen[excel]', or save it as CSV"


@pytest.mark.parametrize("name", ["t.xls", "t.ods", "t.sav"])
def test_other_tables_are_to_be_saved_as_csv(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match="there is no source") as caught:
        open_source(name, tmp_path)
    assert "save it as CSV" in caught.value.fix


@pytest.mark.parametrize("form", ["FLAC", "OGG", "MP3"])
def test_recordings_in_other_forms_are_read(form, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    wave = 0.5 * np.sin(np.arange(16_000) / 5).astype(np.float32)
    for label in ("low", "high"):
        (tmp_path / label).mkdir()
        soundfile.write(tmp_path / label / f"a.{form.lower()}", np.stack([wave, wave], 1), 16_000, format=form)
        (tmp_path / label / f"bad.{form.lower()}").write_bytes(b"ID3 nothing")
    table = rows_of_folder(tmp_path)
    assert [one["label"] for one in table] == ["high", "high", "low", "low"]
    sound = table[0]["audio"]
    assert sound["rate"] == 16_000
    assert abs(len(sound["samples"]) - 16_000) < 4000  # MP3 pads
    assert np.corrcoef(np.abs(np.fft.rfft(sound["samples"], 16_000)), np.abs(np.fft.rfft(wave)))[0, 1] > 0.95
    assert "is not a sound file" in table[1]["_fault"]


def rows_of_folder(folder: Path) -> list[dict[str, object]]:
    return pa.Table.from_batches(list(open_source(folder.name, folder.parent).read())).to_pylist()


def test_without_soundfile_the_message_names_the_extra(tmp_path, monkeypatch):
    from evergreen.data.sources import audio

    (tmp_path / "a.flac").write_bytes(b"fLaC")
    monkeypatch.setattr(audio, "find_spec", lambda module: None)
    with pytest.raises(DataError, match="soundfile is not installed") as caught:
        rows_of_folder(tmp_path)
    assert "evergreen[audio]" in caught.value.fix
