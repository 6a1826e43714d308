"""Text tables: encoding and delimiter are found out, values stay text (the whole column tells later what they mean).

A row with too few or too many fields is yielded with its `_fault`, so that it is set aside by name and not lost.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from data import sources
from data.field import DataError

MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
DELIMITERS = ",;\t|"
LONGEST = 1 << 24  # characters of one field; an unclosed quote runs further and is an error


class Source(sources.Source):
    def read(self) -> Iterator[pa.RecordBatch]:
        path = self.root / self.name
        try:
            with path.open(encoding=encoding(path), newline="") as file:
                yield from _batches(file, path)
        except (UnicodeError, OSError) as error:
            raise DataError(f"cannot be read ({error})", place=str(path), fix="save the file as UTF-8") from error

    def fingerprint(self) -> str:
        return sources.digest([self.root / self.name])


def encoding(path: Path) -> str:
    """By the byte order mark; else UTF-8 if the whole file is; else Latin-1, which every file is."""
    with path.open("rb") as file:
        start = file.read(4)
        for mark, name in MARKS:
            if start.startswith(mark):
                return name
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            block = start
            while block:
                decoder.decode(block)
                block = file.read(1 << 20)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8"


def delimiter(sample: str) -> str:
    """The one of , ; tab | that divides the most lines of the sample into as many fields as the first."""

    def agreement(mark: str) -> tuple[int, int]:
        rows = [row for row in csv.reader(sample.splitlines()[:50], delimiter=mark) if row]
        width = len(rows[0]) if rows else 0
        return (sum(len(row) == width for row in rows), width) if width > 1 else (0, 0)

    return max(DELIMITERS, key=agreement)


def _batches(file: object, path: Path) -> Iterator[pa.RecordBatch]:
    sample = file.read(1 << 16)  # type: ignore[attr-defined]
    file.seek(0)  # type: ignore[attr-defined]
    if not sample.strip():
        raise DataError(
            "the file is empty", place=str(path), fix="give a file with a line of column names and lines of values"
        )
    if "\0" in sample:
        raise DataError(
            "the file is no text", place=str(path), fix="give a text table, or use the ending of what it is (.parquet)"
        )
    csv.field_size_limit(LONGEST)
    reader = csv.reader(file, delimiter=delimiter(sample))  # type: ignore[arg-type]
    names: list[str] = []
    rows: list[tuple[list[str], int]] = []
    yielded = False
    try:
        while not names:  # blank lines may come first
            names = _header(next(reader), path)
        line = reader.line_num + 1
        for row in reader:
            if row:  # a blank line is no row
                rows.append((row, line))
            line = reader.line_num + 1
            if len(rows) == sources.ROWS:
                yield _batch(names, rows, path)
                rows, yielded = [], True
    except csv.Error as error:
        raise DataError(
            str(error), place=f"{path}, line {reader.line_num}", fix="look for a quote that is not closed"
        ) from error
    if rows or not yielded:
        yield _batch(names, rows, path)


def _header(row: list[str], path: Path) -> list[str]:
    names = [name.strip() or f"unnamed_{number}" for number, name in enumerate(row, 1)] if any(row) else []
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"two columns are called '{name}'", place=f"{path}, line 1", fix="give each column its own name"
            )
        if name in sources.RESERVED:
            raise DataError(f"the column name '{name}' is taken", place=f"{path}, line 1", fix="rename the column")
    if names and all(_is_number(name) for name in names):
        raise DataError(
            "the first line holds numbers, no column names",
            place=f"{path}, line 1",
            fix="put a line of column names first",
        )
    return names


def _batch(names: list[str], rows: list[tuple[list[str], int]], path: Path) -> pa.RecordBatch:
    width = len(names)
    faults = [
        None if len(row) == width else f"{len(row)} fields where {width} belong: {','.join(row)[:500]}"
        for row, _ in rows
    ]
    whole = [row if fault is None else [None] * width for (row, _), fault in zip(rows, faults, strict=True)]
    columns = [pa.array([row[i] for row in whole], pa.string()) for i in range(width)]
    origin = pa.array([f"{path.name}#{line}" for _, line in rows], pa.string())
    return pa.record_batch([*columns, origin, pa.array(faults, pa.string())], names=[*names, "_origin", "_fault"])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
