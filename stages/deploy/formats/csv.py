"""Tables of text, read as `evergreen predict` reads them; answers are written as they are, for programs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from evergreen.core.errors import DataError
from evergreen.core.spreadsheets import CsvWriter
from evergreen.data.sources.csv import CsvSource
from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.formats import Rows

CONTENT_TYPE = "text/csv"
IS_TEXT = True


def read(path: Path, batch_rows: int, limits: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of a table. Raises DataError where it has no header, or is no text."""
    import pyarrow as pa

    try:
        for batch in CsvSource(path.name, path.parent).rows(path, "body"):
            for start in range(0, batch.num_rows, batch_rows):
                table = pa.Table.from_batches([batch.slice(start, batch_rows)])
                reasons = table.column("_fault").to_pylist()
                faults = {row: reason for row, reason in enumerate(reasons) if reason}
                yield Rows(table.drop_columns(["_origin", "_fault"]), faults=faults)
    except DataError as error:
        place = error.place.removeprefix(str(path)).lstrip(", ")
        raise DataError(error.problem, place=place or "the body", fix=error.fix) from error


def write(file: IO[bytes], batches: Iterator[Answers], about: Mapping[str, str]) -> None:
    """Write answers as columns, lists as JSON."""
    text, has_header = io.TextIOWrapper(file, "utf-8", newline="", write_through=True), False
    writer = CsvWriter(text, raw=True)
    for answers in batches:
        columns = {name: column.to_pylist() for name, column in answers.columns.items()}
        if not has_header:
            writer.write_rows([list(columns)])
            has_header = True
        writer.write_rows(zip(*([_to_cell(value) for value in one] for one in columns.values()), strict=True))
    text.detach()


def _to_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
