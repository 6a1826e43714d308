"""Text tables: encoding and delimiter are found out, values stay text (the whole column tells later what they mean).

A row with too few or too many fields is yielded with its `_fault`, so that it is quarantined by name and not lost.
"""

import csv
import io
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow

from evergreen.core.errors import DataError
from evergreen.data import sources
from evergreen.data.sources._encoding import ENCODING_FIX

FOLDER_OF = (".csv", ".tsv")
DELIMITERS = ",;\t|"
BLOCK = 1 << 23  # characters read at once
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # with its end
CONTROL_IN_HEADER = re.compile(r"\s*[^\r\n]*[\x00-\x08\x0e-\x1b]")  # no text
LONGEST = 1 << 24  # characters of one field; an unclosed quote runs further and is an error
Row = tuple[list[str], int, str]  # fields, line, what is wrong with it


class CsvSource(sources.FileSource):
    ENDINGS = FOLDER_OF
    VERSION = 2  # more encodings are found, and a NUL sets its row aside
    READS_TEXT = True

    def rows(self, path: Path, name: str) -> Iterator[pa.RecordBatch]:
        try:
            with self.open_text(path) as file:
                yield from _batches(file, path, name)
        except UnicodeError as error:
            raise DataError(f"cannot be read ({error})", place=str(path), fix=ENCODING_FIX) from error
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            fix = "copy the file again: it is damaged or incomplete"
            raise DataError(f"cannot be read ({error})", place=str(path), fix=fix) from error


def detect_delimiter(sample: str) -> str:
    """Return the one of , ; tab | that divides the most lines of the sample into as many fields as the first."""

    def agreement(mark: str) -> tuple[int, int]:
        rows = [row for row in csv.reader(sample.splitlines()[:50], delimiter=mark) if row]
        width = len(rows[0]) if rows else 0
        return (sum(len(row) == width for row in rows), width) if width > 1 else (0, 0)

    return max(DELIMITERS, key=agreement)


def _batches(file: io.TextIOWrapper, path: Path, name: str) -> Iterator[pa.RecordBatch]:
    """Parse whole lines with Arrow, but with Python's reader where quotes hold line ends or rows are ragged."""
    block = _block(file, BLOCK // 2)  # what waits for the first rows gets them sooner
    _is_text(block, path)
    csv.field_size_limit(LONGEST)
    mark, begun = detect_delimiter(block[: 1 << 16]), 0

    def lines() -> Iterator[str]:
        nonlocal begun
        while match := LINE.match(block, begun):
            begun = match.end()
            yield match[0]

    header = csv.reader(lines(), delimiter=mark)
    while not (names := _header(next(header), path)):
        continue  # blank lines may come first
    table = CsvParser(path, name, names, mark)
    line, block = header.line_num + 1, block[begun:]
    if not block.strip("\r\n"):  # a table without rows has columns, too
        yield table.batch([])
    while block:
        if not _line_is_row(block, mark):
            yield from table.parse_with_csv(chain(io.StringIO(block, newline=""), file), line)
            return
        data = block.encode()
        if "\0" in block:
            yield from table.parse_with_csv(io.StringIO(block, newline=""), line)
        else:
            yield from table.parse_with_arrow(block, data, line)
        line, block = line + int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n"))), _block(file)


def _block(file: io.TextIOWrapper, size: int = BLOCK) -> str:
    return file.read(size) + file.readline()


def _is_text(block: str, path: Path) -> None:
    if not block.strip():
        fix = "give a file with a line of column names and lines of values"
        raise DataError("the file is empty", place=str(path), fix=fix)
    if CONTROL_IN_HEADER.match(block):
        fix = "give a text table, or use the ending of what it is (.parquet)"
        raise DataError("the file is not text", place=str(path), fix=fix)


def _header(row: list[str], path: Path) -> list[str]:
    names = [name.strip() or f"unnamed_{number}" for number, name in enumerate(row, 1)] if any(row) else []
    place = f"{path}, line 1"
    sources.check_column_names(names, place)
    if names and all(_is_number(name) for name in names):
        fix = "put a line of column names first"
        raise DataError("the first line holds numbers instead of column names", place=place, fix=fix)
    return names


def _line_is_row(block: str, mark: str) -> bool:
    """Tell whether no quotes hold a line end, and all line ends are line feeds, with or without a return.

    A quote amid a field (`3" pipe`) is a sign like others: where there is one, counting quotes tells nothing.
    """
    if "\r" in block and block.count("\r") != block.count("\r\n"):
        return False
    if '"' not in block:
        return True
    signs = np.frombuffer(block.encode(), np.uint8)
    is_quote = signs == ord('"')
    quotes = np.cumsum(is_quote, dtype=np.uint8)  # what wraps around stays odd or even
    before_opening = signs[np.flatnonzero(is_quote)[::2] - 1]  # of the block's first sign: its last, a line end
    if not np.isin(before_opening, list(b'"\r\n' + mark.encode())).all():
        return False
    return not (quotes[signs == ord("\n")] & 1).any() and not quotes[-1] & 1


@dataclass(frozen=True)
class CsvParser:
    """Parse the rows of one file."""

    path: Path
    name: str  # in origins
    names: list[str]
    mark: str

    def parse_with_arrow(self, block: str, data: bytes, line: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a block in which every line is one; `line` is the number of its first."""
        ragged: list[arrow.InvalidRow] = []

        def aside(row: arrow.InvalidRow) -> str:
            ragged.append(row)
            return "skip"

        table = arrow.read_csv(
            pa.BufferReader(data),
            arrow.ReadOptions(column_names=self.names),
            arrow.ParseOptions(delimiter=self.mark, invalid_row_handler=aside),
            arrow.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()), strings_can_be_null=False, check_utf8=False
            ),
        )
        if ragged:
            yield from self.parse_with_csv(io.StringIO(block, newline=""), line)
            return
        if not len(table):  # blank lines alone
            return
        numbers = np.arange(line, line + len(table))
        # a blank line is no row
        if block.startswith(("\n", "\r\n")) or "\n\n" in block or ("\r" in block and "\n\r\n" in block):
            numbers = line + np.flatnonzero([bool(one.strip("\r")) for one in block.split("\n")])
        table = table.append_column("_origin", sources.origins(self.name, numbers))
        table = table.append_column("_fault", pa.nulls(len(table), pa.string()))
        yield from table.combine_chunks().to_batches(sources.ROWS)

    def parse_with_csv(self, lines: Iterable[str], line: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of lines, the first of which has the number `line`."""
        rows: list[Row] = []
        text: list[str] = []  # the lines of the row at hand
        last: list[str] = []  # and of the one before
        reader = csv.reader(_noted(lines, text), delimiter=self.mark)
        while True:
            number = line + reader.line_num
            try:
                row = next(reader, None)
            except csv.Error as error:
                place, fix = f"{self.path}, line {number}", "look for a quote that is not closed"
                raise DataError(str(error), place=place, fix=fix) from error
            if row is None and rows and (fault := _unclosed(last, self.mark)):
                rows[-1] = (*rows[-1][:2], fault)
            if row is None or len(rows) == sources.ROWS:
                yield from [self.batch(rows)] if rows else []
                rows = []
            if row is None:
                return
            if row:
                rows.append((row, number, ""))
                last = text.copy()
            text.clear()

    def batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        """Return parsed rows as a batch; rows with too few or too many fields have a `_fault`."""
        width = len(self.names)
        faults = [fault or _fault(row, width) for row, _, fault in rows]
        complete = [row if fault is None else [None] * width for (row, *_), fault in zip(rows, faults, strict=True)]
        columns = [pa.array([row[i] for row in complete], pa.string()) for i in range(width)]
        columns.append(sources.origins(self.name, np.array([line for _, line, _ in rows], np.int64)))
        columns.append(pa.array(faults, pa.string()))
        return pa.record_batch(columns, names=[*self.names, "_origin", "_fault"])


def _fault(row: list[str], width: int) -> str | None:
    """Return what is wrong with a row of which each field can be read."""
    if any("\0" in field for field in row):
        return f"it holds a NUL byte: {','.join(row)[:500].replace(chr(0), '␀')}"
    return f"{len(row)} fields where {width} belong: {','.join(row)[:500]}" if len(row) != width else None


def _noted(lines: Iterable[str], text: list[str]) -> Iterator[str]:
    for line in lines:
        text.append(line)
        yield line


def _unclosed(text: list[str], mark: str) -> str:
    """Return what is wrong with the last row of a file if it ends inside quotes."""
    try:
        list(csv.reader(text, delimiter=mark, strict=True))
    except csv.Error as error:
        if "end of data" in str(error):
            return f"its quote is never closed, all after it is inside: {''.join(text)[:500]}"
    return ""


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
