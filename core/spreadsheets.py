"""Write CSV for people, in which no spreadsheet finds a formula to run.

A text that begins with =, +, -, @, a tab or a carriage return gets an apostrophe in front (OWASP, "CSV injection"),
also behind white space, quotes, and what spreadsheets of other countries take for the end of a cell. Numbers stay.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, TextIO

NUMBER = r"[+-](?:[\d., ]+(?:[eE][+-]?\d+)?%?|inf|nan)\s*(?:$|[;\t\r\n])"  # of characters that call no function
BLANK = r"(?:(?![\t\r\n])[\s\x00-\x20\u200b\ufeff'\"])*"
FORMULA = re.compile(rf"^(?=[\t\r])|(?:^|[;\t\r\n])(?={BLANK}(?!{NUMBER})[=+\-@＝＋－＠])")
MARK = re.compile(r"[=+\-@＝＋－＠]|^[\t\r]")  # what most cells are without


class CsvWriter:
    """Write rows to a text file; `n_changed` counts the cells that got an apostrophe. With `raw` none gets one."""

    def __init__(self, file: TextIO, *, raw: bool = False) -> None:
        """Write to `file`, opened with newline=""; fields are quoted where needed."""
        lines = SimpleNamespace(write=lambda row: file.write(f"{row[:-2]}\n"))  # csv quotes what is in its own \r\n
        self._writer, self._raw, self.n_changed = csv.writer(lines), raw, 0

    def write_rows(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows of texts, numbers and None."""
        self._writer.writerows(rows if self._raw else (map(self._neutralise, row) for row in rows))

    def _neutralise(self, value: Any) -> Any:
        if not isinstance(value, str) or not MARK.search(value):
            return value
        text, times = FORMULA.subn(r"\g<0>'", value)
        self.n_changed += bool(times)
        return text
