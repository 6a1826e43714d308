"""A workbook of Excel: its first sheet that holds rows, the first of which names the columns. Needs the extra `excel`.

Cells keep their types; a column of several types is text. A formula counts as what Excel computed last.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import sources
from evergreen.data.arrow import EXACT
from evergreen.data.sources._files import open_decompressed

FOLDER_OF = (".xlsx", ".xlsm")
Line = tuple[int, Sequence[Any]]  # number in the sheet, cells


class XlsxSource(sources.FileSource):
    ENDINGS = FOLDER_OF
    REQUIRES: ClassVar[dict[str, str]] = {"openpyxl": "excel"}

    def rows(self, path: Path, name: str) -> Iterator[pa.RecordBatch]:
        try:
            lines = _lines(path)
        except (BadZipFile, KeyError, OSError, ParseError, ValueError) as error:
            fix = "save it in Excel again, or as CSV"
            raise DataError(f"not a readable Excel file ({error})", place=str(path), fix=fix) from error
        if not lines:
            raise DataError("the file is empty", place=str(path), fix="give a sheet with column names and rows")
        (first, header), *rest = lines
        width = max(place + 1 for _, cells in lines for place, cell in enumerate(cells) if cell is not None)
        names = [_text(cell).strip() for cell in (*header, *[None] * width)[:width]]
        names = [name or f"unnamed_{number}" for number, name in enumerate(names, 1)]
        sources.check_column_names(names, f"{path}, row {first}")
        cells = [(*cells, *[None] * width)[:width] for _, cells in rest]
        columns = [_column([row[place] for row in cells]) for place in range(width)]
        origins = sources.origins(name, np.array([number for number, _ in rest], np.int64))
        yield from pa.table([*columns, origins], names=[*names, "_origin"]).to_batches(sources.ROWS)


def _lines(path: Path) -> list[Line]:
    """Return the rows of the first sheet that holds any, without blank ones."""
    from openpyxl import load_workbook

    with open_decompressed(path) as file, warnings.catch_warnings(action="ignore"):  # of charts and styles
        book = load_workbook(io.BytesIO(file.read()), read_only=True, data_only=True)
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # some programs write wrong ones
            rows = enumerate(sheet.iter_rows(values_only=True), 1)
            if lines := [(number, cells) for number, cells in rows if any(map(_text, cells))]:
                return lines
    return []


def _column(cells: list[Any]) -> pa.Array:
    """Return cells in the type that all of them have, else as text."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds and kinds <= {int, float}:
        is_whole = float not in kinds and all(abs(cell) < EXACT for cell in cells if cell is not None)
        return pa.array(cells, pa.int64() if is_whole else pa.float64())
    if kinds == {bool}:
        return pa.array(cells, pa.bool_())
    if kinds and kinds <= {datetime, date}:
        return pa.array([cell and datetime(*cell.timetuple()[:6]) for cell in cells], pa.timestamp("us"))
    return pa.array([None if cell is None else _text(cell) for cell in cells], pa.string())


def _text(cell: Any) -> str:
    """Return a cell as a person would write it into a text file."""
    if isinstance(cell, float):
        return f"{cell:.15g}"
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime):
        return cell.isoformat(" ").removesuffix(" 00:00:00")
    return "" if cell is None else str(cell)
