"""Text is read as it was written, whatever the encoding; what was guessed is told, and a pipeline can decide."""

import gzip
import random
from pathlib import Path

import pyarrow as pa
import pytest

from evergreen.core.config import build
from evergreen.core.errors import DataError, PipelineError
from evergreen.data.sources import open_source
from evergreen.stages.collect.config import CollectConfig

WORDS = {  # encoding → what people write in it
    "cp1251": ["Иван", "Мария", "Сергей", "Ольга Петрова", "улица Ленина"],
    "koi8-r": ["Иван", "Мария", "Сергей", "Ольга Петрова", "улица Ленина"],
    "shift_jis": ["東京都", "大阪府", "さくら", "カタカナ", "田中 太郎"],
    "euc_jp": ["東京都", "大阪府", "さくら", "カタカナ", "田中 太郎"],
    "gb18030": ["王小明", "李雷", "韩梅梅", "北京市朝阳区"],
    "big5": ["王小明", "臺北市", "陳淑芬", "高雄市"],
    "euc_kr": ["김철수", "서울특별시", "이영희", "부산"],
    "iso8859_2": ["Łukasz", "Żaneta", "Świętosława", "Jiří", "Dvořák", "Žižka"],
    "cp1250": ["Łukasz", "Żaneta", "Świętosława", "źródło", "Šárka"],
    "iso8859_7": ["Γιώργος", "Μαρία", "Ελένη", "Αθήνα"],
    "cp1253": ["Γιώργος", "Μαρία", "Ελένη", "Θεσσαλονίκη"],
    "cp1255": ["משה", "שרה", "ירושלים", "תל אביב"],
    "cp1256": ["محمد", "فاطمة", "القاهرة", "علي"],
    "cp874": ["สมชาย", "กรุงเทพ", "มานี"],
    "cp1252": ["Müller", "Straße", "café", "naïve – “so”", "5 €", "Ærø", "São Paulo", "l’été"],
    "latin-1": ["Müller", "Straße", "Zoë", "Ægir", "señor", "crème brûlée"],
    "utf-16-le": ["Иван", "Müller", "東京都", "plain"],
    "utf-16-be": ["Иван", "Müller", "東京都", "plain"],
    "utf-32-le": ["Иван", "Müller", "東京都", "plain"],
    "utf-32-be": ["Иван", "Müller", "東京都", "plain"],
    "utf-16": ["Иван", "Müller", "plain"],
    "utf-32": ["Иван", "Müller", "plain"],
    "utf-8-sig": ["Иван", "Müller", "plain"],
    "utf-8": ["Иван", "Müller", "plain", "🙂"],
}
TOLD = {*WORDS} - {"utf-16", "utf-32", "utf-8-sig", "utf-8"}


def table(words: list[str], rows: int = 120) -> str:
    drawn = random.Random(3)
    lines = (f"{words[n % len(words)]},{drawn.randint(1, 99)},{'yn'[n % 3 == 1]}\n" for n in range(rows))
    return "name,size,bought\n" + "".join(lines)


def read(path: Path, encoding: str = "") -> tuple[pa.Table, list[str]]:
    source = open_source(path.name, path.parent, encoding=encoding)
    rows = pa.Table.from_batches(list(source.read()))
    return rows, list(source.encodings.values())


@pytest.mark.parametrize("encoding", WORDS)
def test_words_are_read_as_they_were_written(encoding, tmp_path):
    words = WORDS[encoding]
    (tmp_path / "t.csv").write_bytes(table(words).encode(encoding))
    rows, told = read(tmp_path / "t.csv")
    assert rows["name"].to_pylist()[: len(words)] == words
    assert bool(told) == (encoding in TOLD), told
    if told:
        assert told[0].startswith("t.csv is read as ")
        assert "collect: {encoding: …}" in told[0]


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis", "gb18030", "iso8859_2", "utf-16-le"])
def test_texts_lines_and_packed_files_are_read_too(encoding, tmp_path):
    words = WORDS[encoding]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(table(words).encode(encoding)))
    assert read(tmp_path / "t.csv.gz")[0]["name"].to_pylist()[: len(words)] == words
    text = "\n".join(words * 9)
    (tmp_path / "t.txt").write_bytes(text.encode(encoding))
    rows, told = read(tmp_path / "t.txt")
    assert "".join(rows["text"].to_pylist()) == text
    assert told


@pytest.mark.parametrize("rows", [3, 20_000])
def test_few_rows_and_many_are_read_alike(rows, tmp_path):
    plain = "".join(f"anna,{n},y\n" for n in range(rows))
    words = "Иван,1,y\nМария,2,n\nСергей,3,y\n"
    (tmp_path / "t.csv").write_bytes(f"name,size,bought\n{plain}{words}".encode("cp1251"))
    assert read(tmp_path / "t.csv")[0]["name"].to_pylist()[-3:] == ["Иван", "Мария", "Сергей"]


def test_the_pipeline_decides(tmp_path):
    words = "name,size\n" + "Łódź,1\nŻuk,2\n" * 20
    (tmp_path / "t.csv").write_bytes(words.encode("iso8859_2"))
    rows, told = read(tmp_path / "t.csv", "cp1251")
    assert rows["name"][0].as_py() == "Łódź".encode("iso8859_2").decode("cp1251")
    assert not told
    (tmp_path / "t.csv").write_bytes(words.encode())  # UTF-8 is certain, so it may come one day
    assert read(tmp_path / "t.csv", "cp1251")[0]["name"][0].as_py() == "Łódź"
    (tmp_path / "t.csv").write_bytes(words.encode("iso2022_jp", errors="ignore") + "東京,3\n".encode("iso2022_jp"))
    assert read(tmp_path / "t.csv", "iso2022_jp")[0]["name"].to_pylist()[-1] == "東京"


def test_an_encoding_that_does_not_fit_is_one_error(tmp_path):
    (tmp_path / "t.csv").write_bytes(table(WORDS["cp1251"]).encode("cp1251"))
    with pytest.raises(DataError, match="cannot be read") as caught:
        read(tmp_path / "t.csv", "shift_jis")
    assert "encoding" in caught.value.fix


@pytest.mark.parametrize("wrong", ["cp12511", "utf9", "rot13", "base64", "кои", "a\0b", "x" * 90, "undefined"])
def test_an_encoding_that_there_is_not_is_refused(wrong):
    with pytest.raises(PipelineError, match="encoding"):
        build(CollectConfig, {"uri": "t.csv", "encoding": wrong}, "collect")


@pytest.mark.parametrize(
    "right", ["cp1251", "Shift-JIS", "GB18030", "ISO 8859-2", "iso-8859-2", "latin2", "UTF-16LE", ""]
)
def test_usual_names_of_encodings_are_known(right):
    assert build(CollectConfig, {"uri": "t.csv", "encoding": right}, "collect").encoding == right


def test_a_source_without_text_has_no_encoding(tmp_path):
    with pytest.raises(DataError, match="no encoding") as caught:
        open_source("sklearn:iris", tmp_path, encoding="cp1251")
    assert caught.value.place == "collect.encoding"


def test_a_doubt_names_the_other_encodings(tmp_path):
    (tmp_path / "t.csv").write_bytes("a,b\nכן,לא\nלא,כן\n".encode("cp1255"))  # four letters alone
    _, (told,) = read(tmp_path / "t.csv")
    assert "; or it is " in told
    assert "cp1255" in told


def test_files_of_two_encodings_are_each_told_once(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, encoding in (("a", "cp1251"), ("b", "cp1251"), ("c", "gb18030"), ("d", "utf-8")):
        (folder / f"{name}.csv").write_bytes(
            table(WORDS["cp1251" if encoding == "cp1251" else "gb18030"]).encode(encoding)
        )
    rows, told = read(folder)
    assert {"Иван", "王小明"} <= set(rows["name"].to_pylist())
    assert len(told) == 2


def test_json_in_another_encoding(tmp_path):
    lines = '{"name": "Иван", "n": 1}\n{"name": "Мария", "n": 2}\n'
    for encoding in ("utf-16", "cp1251"):
        (tmp_path / "t.jsonl").write_bytes(lines.encode(encoding))
        rows, _ = read(tmp_path / "t.jsonl", encoding if encoding == "cp1251" else "")
        assert rows["name"].to_pylist() == ["Иван", "Мария"]
