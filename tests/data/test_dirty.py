"""Dirty data, a kind a line: each ends in quarantine with its reason, or in one clear error; the good rows go on."""

import bz2
import gzip
import io
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evergreen.core.errors import DataError
from evergreen.data.kinds.sound import wav
from evergreen.data.prepare.check import separate_invalid_rows
from evergreen.data.prepare.infer import infer_schema
from evergreen.data.prepare.rules.constraints import Rules
from evergreen.data.sources import open_source

GOOD_DAYS = [(n, "yes" if n % 3 else "no") for n in range(30)]
GOOD = [(n + 0.5, "yes" if n % 3 else "no") for n in range(30)]
CSV = "n,label\n" + "".join(f"{n},{label}\n" for n, label in GOOD)
JSON = "".join(json.dumps({"n": n, "label": label}) + "\n" for n, label in GOOD)
TABLE = pa.table({"n": [n for n, _ in GOOD], "label": [label for _, label in GOOD]})


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    feather.write_feather(table, sink)
    return sink.getvalue().to_pybytes()


def more(column: str, *values: object) -> pa.Table:
    """The good rows with these as the last values of a column, repeated to the length."""
    return TABLE.append_column(column, pa.array([*([None] * (len(TABLE) - len(values))), *values]))


def png(height: int = 9, width: int = 9) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 128, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def huge(side: int) -> bytes:
    """A small file that says it is a large picture."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + png()[33:]


def folder(good: bytes, ending: str, *bad: bytes) -> dict[str, bytes]:
    """Files of two classes: 12 good ones, and those."""
    files = {f"{'yes' if n % 3 else 'no'}/{n:02}.{ending}": good for n in range(12)}
    return files | {f"yes/bad{n}.{ending}": content for n, content in enumerate(bad)}


SOUND = wav.encode_wav(np.sin(np.arange(400) / 5).astype(np.float32) / 2, 8000)
DAYS = "day,label\n" + "".join(f"2021-01-{n % 28 + 1:02},{label}\n" for n, label in GOOD_DAYS)
MOMENT = {"kinds": {"day": "moment"}}

# what is wrong: (file, content, how many rows are good and why the others are not | what the error says, wishes if any)
DIRTY: dict[str, tuple[Any, ...]] = {
    "a row with too few fields": ("t.csv", CSV + "1\n", (30, ["1 fields where 2 belong: 1"])),
    "a row with too many fields": ("t.csv", CSV + "1,no,3\n", (30, ["3 fields where 2 belong: 1,no,3"])),
    "a line of separators": ("t.csv", CSV + ",,,\n", (30, ["4 fields where 2 belong: ,,,"])),
    "a row cut off by the end of the file": ("t.csv", CSV + "2", (30, ["1 fields where 2 belong: 2"])),
    "a quoted field cut off by the end of the file": (
        "t.csv",
        CSV + '2,"ye',
        (30, ["its quote is never closed.*: 2,"]),
    ),
    "a quote that swallows the rows after it": (
        "t.csv",
        CSV + '1,"no\n2,no\n3,no\n',
        (30, ["its quote is never closed"]),
    ),
    "blank lines between rows": ("t.csv", CSV.replace("\n", "\n\n"), (30, [])),
    "blank lines and a ragged row": ("t.csv", CSV + "\n\n1\n\n", (30, ["1 fields where 2 belong: 1"])),
    "a second header line": ("t.csv", CSV + "n,label\n", (30, ["n: not a number"])),
    "words among numbers": ("t.csv", CSV + "many,no\n", (30, ["n: not a number"])),
    "a number with an underscore": ("t.csv", CSV + "1_000,no\n", (30, ["n: not a number"])),
    "a hexadecimal number": ("t.csv", CSV + "0x1F,no\n", (30, ["n: not a number"])),
    "a number with its unit": ("t.csv", CSV + "3 kg,no\n", (30, ["n: not a number"])),
    "infinity": ("t.csv", CSV + "inf,no\n", (30, ["n: .*nfinit"])),
    "an integer of 400 digits": ("t.csv", CSV + "9" * 400 + ",no\n", (30, ["n: .*"])),
    "a number far beyond all doubles": ("t.csv", CSV + "1e999,no\n", (30, ["n: .*"])),
    "a NUL byte in a number": ("t.csv", CSV + "1\x002,no\n", (30, ["it holds a NUL byte: 1␀2,no"])),
    "NUL bytes in a word, a quoted field and a row too short": (
        "t.csv",
        CSV + '1,n\x00o\n"1\x00,2",no\n\x00\n3,no\n',
        (31, ["it holds a NUL byte"] * 3),
    ),
    "the end of a file lost in a crash": ("t.csv", CSV + "\x00" * 5000, (30, ["it holds a NUL byte"])),
    "a NUL byte in a line of column names": ("t.csv", CSV.replace("n,", "n\x00,", 1), "not text"),
    "a NUL byte late in the file": (
        "t.csv",
        CSV * 1 + "1,no\n" * 20_000 + "1\x002,no\n",
        (20_030, ["it holds a NUL byte: 1␀2,no"]),
    ),
    "a missing class": ("t.csv", CSV + "1,\n", (30, ["label: missing"])),
    "a class of blanks alone": ("t.csv", CSV + "1,   \n", (30, ["label: missing"])),
    "a missing number": ("t.csv", CSV + ",no\n", (31, [])),
    "the words for nothing": ("t.csv", CSV + "NA,no\nnull,no\n?,no\nN/A,no\n", (34, [])),
    "an emoji as a class": ("t.csv", CSV + "1,🙂\n2,🙂\n", (32, [])),
    "a byte order mark": ("t.csv", b"\xef\xbb\xbf" + CSV.encode(), (30, [])),
    "UTF-16": ("t.csv", CSV.encode("utf-16"), (30, [])),
    "Windows-1252": ("t.csv", (CSV + "1,5 €\n2,5 €\n").encode("cp1252"), (32, [])),
    "Latin-1": ("t.csv", (CSV + "1,jä\n2,jä\n").encode("latin-1"), (32, [])),
    "UTF-16 cut in the middle of a sign": ("t.csv", CSV.encode("utf-16")[:-1], "cannot be read"),
    "line ends of an old Mac": ("t.csv", CSV.replace("\n", "\r"), (30, [])),
    "line ends of Windows": ("t.csv", CSV.replace("\n", "\r\n"), (30, [])),
    "mixed line ends": ("t.csv", CSV.replace("\n", "\r\n", 7), (30, [])),
    "semicolons and decimal commas": ("t.csv", CSV.replace(",", ";").replace(".", ","), (30, [])),
    "a stray quote": ("t.csv", CSV + '5" pipe,no\n1,no\n', (31, ["n: not a number"])),
    "a line end inside quotes": ("t.csv", CSV + '1,"no\nno"\n2,"no\nno"\n', (32, [])),
    "a quote that is never closed": ("t.csv", CSV + '1,"' + "x" * (1 << 25), "quote that is not closed"),
    "two columns of one name": ("t.csv", "n,n,label\n1,2,no\n", "two columns are called 'n'"),
    "a column without a name": ("t.csv", CSV.replace("n,label", ",label"), "no input column is left"),
    "no header": ("t.csv", "1,2\n3,4\n", "holds numbers instead of column names"),
    "a reserved name": ("t.csv", "_fault,label\n1,no\n", "the column name '_fault' is reserved"),
    "nothing but a header": ("t.csv", "n,label\n", "there are no rows"),
    "an empty file": ("t.csv", b"", "the file is empty"),
    "blanks alone": ("t.csv", b" \n \n", "the file is empty"),
    "every row ragged": ("t.csv", "n,label\n1\n2\n3\n", "no row could be read"),
    "one class": ("t.csv", "n,label\n" + "1,no\n" * 9, "only one class"),
    "a Parquet file called .csv": ("t.csv", parquet(TABLE), "the file is not text"),
    "a table called .parquet": ("t.parquet", CSV, "not a readable Parquet file"),
    "half a Parquet file": ("t.parquet", parquet(TABLE)[:-9], "not a readable Parquet file"),
    "a Parquet file without rows": ("t.parquet", parquet(TABLE.slice(0, 0)), "there are no rows"),
    "infinities in Parquet": (
        "t.parquet",
        parquet(pa.table({"n": [*(n for n, _ in GOOD[1:]), float("inf")], "label": TABLE["label"]})),
        (29, ["n: .*nfinit"]),
    ),
    "half an Arrow file": ("t.arrow", arrow(TABLE)[:-50], "not a readable Arrow file"),
    "gzip cut off": ("t.csv.gz", gzip.compress(CSV.encode())[:-20], "cannot be read"),
    "gzip with a flipped bit": ("t.csv.gz", gzip.compress(CSV.encode())[:-8] + b"\x00" * 8, "cannot be read"),
    "bzip2 cut off": ("t.csv.bz2", bz2.compress(CSV.encode())[:-20], "cannot be read"),
    "no gzip at all": ("t.csv.gz", CSV, "cannot be read"),
    "a line that is no JSON": ("t.jsonl", JSON + "{n: 1}\n", (30, ["no JSON: .*: {n: 1}"])),
    "a line of JSON cut off": ("t.jsonl", JSON + '{"n": 1, "la', (30, ["no JSON"])),
    "a list among objects": ("t.jsonl", JSON + "[1, 2]\n", (30, ["no object"])),
    "a key twice": ("t.jsonl", JSON + '{"n": 1, "n": 2, "label": "no"}\n', (30, ["'n' stands there twice"])),
    "half a surrogate pair": ("t.jsonl", JSON + '{"n": 1, "label": "\\ud83d"}\n', (30, ["no JSON"])),
    "two objects in a line": ("t.jsonl", JSON + '{"n": 1}{"n": 2}\n', (30, ["no JSON"])),
    "bytes that are no UTF-8": ("t.jsonl", JSON.encode() + b'{"n": 1, "label": "n\xe9"}\n', (30, ["no JSON"])),
    "a key that is left out": ("t.jsonl", JSON + '{"n": 1}\n{"label": "no"}\n', (31, ["label: missing"])),
    "a number as text": ("t.jsonl", JSON + '{"n": "1.5", "label": "no"}\n', (31, [])),
    "text for a number": ("t.jsonl", JSON + '{"n": "x", "label": "no"}\n', (30, ["n: not a number"])),
    "an object for a number": ("t.jsonl", JSON + '{"n": {"x": 1}, "label": "no"}\n', (30, ["n: not a number"])),
    "an integer beyond 64 bits": ("t.jsonl", JSON + '{"n": 1' + "0" * 30 + ', "label": "no"}\n', (31, [])),
    "nesting without end": ("t.jsonl", JSON + '{"n": ' + "[" * 100_000 + "\n", (30, ["no JSON"])),
    "JSON that is one list": ("t.jsonl", "[" + JSON.replace("\n", ",\n") + "{}]", "one list, not lines of objects"),
    "a list for a number": ("t.jsonl", JSON + '{"n": [1, 2], "label": "no"}\n', (30, ["n: "])),
    "objects in objects in objects": ("t.jsonl", JSON + '{"n": {"a": {"b": [1]}}, "label": "no"}\n', (30, ["n: "])),
    "true among numbers": ("t.jsonl", JSON + '{"n": true, "label": "no"}\n', (31, [])),
    "a day that no calendar has": ("t.csv", DAYS + "2021-02-30,no\n", (30, ["day: not a time"]), MOMENT),
    "a month 13 and an hour 25": (
        "t.csv",
        DAYS + "2021-13-01,no\n2021-01-01 25:00,no\n",
        (30, ["day: not a time", "day: not a time"]),
        MOMENT,
    ),
    "a time zone that there is not": ("t.csv", DAYS + "2021-01-01T10:00+99:00,no\n", (30, ["day: "]), MOMENT),
    "a time zone among times without": ("t.csv", DAYS + "2021-01-01T10:00+02:00,no\n", (30, ["day: "]), MOMENT),
    "days written in two ways": ("t.csv", DAYS + "3.1.2021,no\n", (30, ["day: not a time"]), MOMENT),
    "the year 0 and the year 99999": ("t.csv", DAYS + "0000-01-01,no\n99999-01-01,no\n", (30, ["day: "] * 2), MOMENT),
    "a zone that no one knows": (
        "t.csv",
        DAYS,
        "'Europe/Atlantis' is not a time zone",
        {"kinds": {"day": {"kind": "moment", "zone": "Europe/Atlantis"}}},
    ),
    "a picture cut off": ("pictures", folder(png(), "png", png()[:-30]), (12, ["image: "])),
    "a picture of no bytes": ("pictures", folder(png(), "png", b""), (12, ["image: "])),
    "a text called .png": ("pictures", folder(png(), "png", b"hello"), (12, ["image: "])),
    "a small file that says it is a huge picture": ("pictures", folder(png(), "png", huge(60_000)), (12, ["image: "])),
    "a picture that a table names and nobody brought": (
        "pictures",
        {"a.png": png(), "b.png": png(), "t.csv": b"path,label\na.png,yes\nb.png,no\nc.png,no\n"},
        (2, ["there is no file: c.png"]),
    ),
    "a sound of no samples": (
        "sounds",
        folder(SOUND, "wav", wav.encode_wav(np.zeros(0, np.float32), 8000)),
        (12, [".*"]),
    ),
    "a sound cut off in its head": ("sounds", folder(SOUND, "wav", SOUND[:30]), (12, [".*"])),
    "a sound that is none": ("sounds", folder(SOUND, "wav", b"ID3" + bytes(100)), (12, [".*"])),
    "a value out of its range": (
        "t.csv",
        CSV + "-3,no\n1e6,no\n",
        (30, ["n: below 0: n=-3", "n: above 100: n=1e6"]),
        {"schema": {"n": {"min": 0, "max": 100}}},
    ),
    "a value that is not allowed": (
        "t.csv",
        CSV + "1,perhaps\n2,perhaps\n",
        (30, ["label: not one of yes, no: label=perhaps"] * 2),
        {"schema": {"label": {"allowed": ["yes", "no"]}}},
    ),
    "a value that does not fit its pattern": (
        "t.csv",
        CSV + "1,NO\n",
        (30, [r"label: does not fit \[a-z\]\+: label=NO"]),
        {"schema": {"label": {"pattern": "[a-z]+"}}},
    ),
    "a value that must not come twice": (
        "t.csv",
        CSV + "0.5,no\n",
        (29, ["n: stands more than once: n=0.5"] * 2),
        {"schema": {"n": {"unique": True}}},
    ),
    "a value that must not be missing": (
        "t.csv",
        CSV + ",no\n",
        (30, ["n: missing"]),
        {"schema": {"n": {"missing": 0}}},
    ),
    "too many values missing": (
        "t.csv",
        CSV + ",no\n" * 10,
        r"10 of 40 rows have no value \(25.0%\)",
        {"schema": {"n": {"missing": 0.1}}},
    ),
    "a rule across columns broken": (
        "t.csv",
        CSV + "-3,no\n-4,yes\n",
        (31, ["rule: n >= 0 or label == 'yes': n=-3, label=no"]),
        {"rules": ["n >= 0 or label == 'yes'"]},
    ),
    "a rule about a column that is not there": ("t.csv", CSV, "did you mean 'label'", {"rules": ["labl == 'yes'"]}),
    "a picture whose name is not UTF-8": (
        "in",
        folder(png(), "png") | {"yes/\udcff.png": png()},
        "the name is not UTF-8",
    ),
    "a text whose name is not UTF-8": ("in", folder(b"a text", "txt") | {"yes/\udcff.txt": b"a text"}, "not UTF-8"),
    "a recording whose name is not UTF-8": ("in", folder(SOUND, "wav") | {"yes/\udcff.wav": SOUND}, "not UTF-8"),
    "a folder of tables of which one's name is not UTF-8": ("in", {"1.csv": CSV, "\udcff.csv": CSV}, "not UTF-8"),
    "another format than the ending says": (
        "t.xls",
        struct.pack("<Q", 0xE11AB1A1E011CFD0),
        "there is no source for 'xls'",
    ),
}


@pytest.mark.parametrize("name", DIRTY)
def test_dirty_data_is_set_aside_or_one_clear_error(name: str, tmp_path: Path) -> None:
    file, content, expected, *wishes = DIRTY[name]
    for place, held in (content if isinstance(content, dict) else {"": content}).items():
        (tmp_path / file / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file / place).write_bytes(held if isinstance(held, bytes) else held.encode())

    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected) as caught:
            prepared(file, tmp_path, *wishes)
        assert caught.value.fix
        return
    good, aside = prepared(file, tmp_path, *wishes)
    count, reasons = expected
    assert (len(good), len(aside)) == (count, len(reasons)), aside["reason"].to_pylist()
    for row, reason in zip(aside.to_pylist(), reasons, strict=True):
        assert re.search(reason, f"{row['reason']}: {row['value']}"), row
        assert row["origin"].startswith(f"{file}#") or isinstance(content, dict)


def prepared(file: str, root: Path, wishes: dict[str, Any] | None = None) -> tuple[pa.Table, pa.Table]:
    """The good rows and those set aside, as collecting and preparing go through them."""
    wishes = wishes or {}
    batches = list(open_source(file, root).read())
    table = pa.Table.from_batches(batches) if batches else pa.table({"_origin": pa.array([], pa.string())})
    if not len(table):
        raise DataError("there are no rows", place=file, fix="as `collect` says")
    kinds = wishes.get("kinds") or ({"n": "number"} if "n" in table.column_names else {})
    schema = infer_schema(table, "label", "category", given=kinds)
    rules = Rules.read(wishes.get("schema", {}), wishes.get("rules", []), table)
    return separate_invalid_rows(table, schema, rules=rules.with_global_stats([rules.collect_stats(table)]))


def test_the_table_is_long_enough() -> None:
    assert len(DIRTY) >= 90
