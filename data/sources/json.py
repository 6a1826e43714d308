"""A JSON file: a list of objects, each a row; or one object that holds such a list, or a list of values a column.

`[{"a": 1}, …]`, `{"data": [{"a": 1}, …], …}`, `{"a": [1, …], "b": […]}`, or as pandas writes it; rows are numbered from
1. Objects inside them are read as in JSON lines, and so is a file of lines.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evergreen.core.errors import DataError
from evergreen.data.sources._encoding import ENCODING_FIX
from evergreen.data.sources.jsonl import JsonlSource, reject_duplicates

FOLDER_OF = (".json",)
NAMES = ("data", "rows", "records", "items", "results")  # of what holds the rows, beside other things
FIX = 'write a list of objects, `[{"a": 1}, …]`, or save it as CSV'


class JsonSource(JsonlSource):
    ENDINGS = FOLDER_OF

    def blocks(self, path: Path) -> Iterator[bytes]:
        """Yield all rows as lines."""
        try:
            with self.open_text(path) as file:
                text = file.read()
        except UnicodeError as error:
            raise DataError(f"cannot be read ({error})", place=str(path), fix=ENCODING_FIX) from error
        try:
            rows = _rows(json.loads(text, object_pairs_hook=reject_duplicates))
        except (ValueError, RecursionError) as error:
            lines = text.strip().splitlines()
            if len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines[:2]):
                yield text.encode()
                return
            place = f"{path}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(path)
            raise DataError(f"is not JSON ({error})", place=place, fix=FIX) from error
        if rows is None:
            raise DataError("holds no rows", place=str(path), fix=FIX)
        yield "\n".join(json.dumps(row) for row in rows).encode()


def _rows(value: Any) -> list[Any] | None:
    """Return the rows of a document; None where it holds none."""
    if isinstance(value, list):
        is_table = len(value) > 1 and all(isinstance(row, list) for row in value)
        return _named(value[0], value[1:]) if is_table else value
    if not isinstance(value, dict) or not value:
        return None
    parts = [*value.values()]
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        return _named(value["columns"], value["data"])
    if all(isinstance(part, dict) for part in parts) and len({tuple(part) for part in parts}) == 1:  # as of pandas
        if all(key.isdecimal() for key in parts[0]):
            return _named([*value], zip(*(part.values() for part in parts), strict=True))
        if len(parts) > 1:
            return parts
    lists = {name: part for name, part in value.items() if isinstance(part, list)}
    records = {name: part for name, part in lists.items() if part and all(isinstance(row, dict) for row in part)}
    if not records and len(lists) == len(parts) and len({len(part) for part in parts}) == 1:
        return _named([*value], zip(*parts, strict=True))
    inner = next((value[name] for name in NAMES if name in value), parts[0] if len(parts) == 1 else None)
    if len(records) == 1:
        return next(iter(records.values()))
    return _rows(inner) if isinstance(inner, dict | list) else None


def _named(names: list[Any], rows: Iterable[Sequence[Any]]) -> list[Any]:
    """Return rows as objects, those of another length as they are."""
    return [dict(zip(map(str, names), row, strict=True)) if len(row) == len(names) else row for row in rows]
