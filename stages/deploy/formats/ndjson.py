"""Lines of JSON: rows and answers as `/predict` has them, one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from evergreen.core.errors import DataError
from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.formats import BATCH_ROWS, Rows

CONTENT_TYPE = "application/x-ndjson"
IS_TEXT = True


def read(path: Path, batch_rows: int, limits: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of a file; blank lines are none. Raises DataError for a line that is no JSON."""
    with path.open("rb") as file:
        rows = (_parse(line, number) for number, line in enumerate(file, 1) if line.strip())
        while batch := list(islice(rows, min(batch_rows, BATCH_ROWS))):
            yield Rows(objects=batch)


def _parse(line: bytes, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON ({error!s:.80})", place=f"line {number}", fix="send one object a line") from None


def write(file: IO[bytes], batches: Iterator[Answers], about: Mapping[str, str]) -> None:
    """Write one answer a line."""
    for answers in batches:
        lines = (json.dumps(answer, allow_nan=False, separators=(",", ":")) + "\n" for answer in answers.objects)
        file.write("".join(lines).encode())
