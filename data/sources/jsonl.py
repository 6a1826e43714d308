"""JSON lines: one object a line. Its keys are columns; a column whose values are of several types is text.

An object inside an object becomes columns `outer.inner`, unless a kind reads it whole, as a sound or a graph. A line
that is no object is yielded with its `_fault`.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.json as arrow

from evergreen.core.errors import DataError
from evergreen.data import kinds, sources
from evergreen.data.sources._encoding import is_wide
from evergreen.data.sources._files import open_decompressed

FOLDER_OF = (".jsonl", ".ndjson")
BLOCK = 1 << 23  # bytes read at once
SHOWN = 500  # characters of a line that cannot be read


class JsonlSource(sources.FileSource):
    ENDINGS: ClassVar[tuple[str, ...]] = FOLDER_OF
    VERSION = 2  # objects that hold lists become columns
    READS_TEXT = True

    def rows(self, path: Path, name: str) -> Iterator[pa.RecordBatch]:
        try:
            schema, whole = pa.schema([]), set[str]()
            for block in self.blocks(path):
                table = _parsed(block)[0]
                schema = _united(schema, table.schema)
                _flattened(table, whole, look=True)
            line = 1
            for block in self.blocks(path):
                table, places, faults = _parsed(block, schema)
                table = _flattened(table, whole)
                sources.check_column_names(table.column_names, str(path))
                columns = {"_origin": sources.origins(name, line + places), "_fault": pa.array(faults, pa.string())}
                table = pa.table({**{column: table[column] for column in table.column_names}, **columns})
                yield from table.combine_chunks().to_batches(sources.ROWS)
                line += block.count(b"\n")
        except (OSError, EOFError, UnicodeError) as error:
            fix = "copy the file again: it is damaged or has another format"
            raise DataError(f"cannot be read ({error})", place=str(path), fix=fix) from error

    def blocks(self, path: Path) -> Iterator[bytes]:
        """Yield the file in UTF-8, in pieces of whole lines."""
        with self._open(path) as file:
            block = (file.read(BLOCK) + file.readline()).removeprefix(b"\xef\xbb\xbf")
            if block.lstrip()[:1] == b"[":
                fix = "write one object a line, or call the file .json"
                raise DataError("the file is one list, not lines of objects", place=str(path), fix=fix)
            while block:
                yield block
                block = file.read(BLOCK) + file.readline()

    def _open(self, path: Path) -> io.BufferedIOBase:
        if not self.encoding and not is_wide(path):  # else a line that is not UTF-8 is its own fault
            return io.BufferedReader(open_decompressed(path))  # type: ignore[type-var]
        with self.open_text(path) as file:
            return io.BytesIO(file.read().encode())


def _parsed(block: bytes, schema: pa.Schema | None = None) -> tuple[pa.Table, np.ndarray, list[str | None]]:
    """Return the rows of a block, the line of each from 0, and why it could not be read."""
    lines = block.split(b"\n")
    places = np.array([place for place, line in enumerate(lines) if line.strip()], np.int64)
    try:
        block.decode()  # Arrow does not look
        options = arrow.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer")
        table = arrow.read_json(pa.BufferReader(block), arrow.ReadOptions(block_size=len(block) + 1), options)
        if len(table) == len(places):
            return (
                table.cast(pa.schema([(one.name, _stored_type(one.type)) for one in table.schema])),
                places,
                [None] * len(places),
            )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        pass  # line by line, what is wrong can be said
    read = [_object(lines[place]) for place in places]
    objects = [value if fault is None else {} for value, fault in read]
    names = list(schema.names if schema else dict.fromkeys(key for one in objects for key in one))
    columns = [
        _column([one.get(name) for one in objects], schema.field(name).type if schema else None) for name in names
    ]
    return pa.Table.from_arrays(columns, names), places, [fault for _, fault in read]


def _object(line: bytes) -> tuple[dict[str, Any], str | None]:
    try:
        text = line.decode()
        value = json.loads(text, object_pairs_hook=reject_duplicates)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        return {}, f"no JSON ({error}): {line[:SHOWN].decode(errors='replace')}"
    if not isinstance(value, dict):
        return {}, f"no object: {text[:SHOWN]}"
    return value, None


def reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a mapping. Raises ValueError where a name comes twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' stands there twice")
    return values


def _column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """Return values as a column of a type, by default of one that suits them all; else as text."""
    try:
        column = pa.array(values, kind)
        return column if kind else column.cast(_stored_type(column.type))
    except OverflowError:
        return pa.array([None if one is None else float(one) for one in values], pa.float64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        words = [one if one is None or isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in values]
        return pa.array(words, pa.string())


def _stored_type(kind: pa.DataType) -> pa.DataType:
    """Return what a type was in the file: Arrow takes some texts for times, and nulls for a type of their own."""
    if pa.types.is_temporal(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([(one.name, _stored_type(one.type)) for one in kind])
    return pa.list_(_stored_type(kind.value_type)) if pa.types.is_list(kind) else kind


def _united(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    """Return all columns of both schemas; one of two types that no third holds is text."""
    fields = {field.name: field for field in one}
    for field in other:
        try:
            both = [pa.schema([fields.get(field.name, field)]), pa.schema([field])]
            fields[field.name] = pa.unify_schemas(both, promote_options="permissive").field(0)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            fields[field.name] = pa.field(field.name, pa.string())
    return pa.schema(list(fields.values()))


def _flattened(table: pa.Table, whole: set[str], *, look: bool = False) -> pa.Table:
    """Return a table with columns in place of objects but those of the names `whole`; `look` adds those to it."""
    while wide := [one.name for one in table.schema if pa.types.is_struct(one.type) and one.name not in whole]:
        columns: list[tuple[str, pa.Array]] = []
        for name in table.column_names:
            column = table.column(name).combine_chunks()
            if name in wide and look and any(kinds.find(kind).detect(column) for kind in kinds.names()):
                whole.add(name)
            is_divided = name in wide and name not in whole
            parts = zip(column.type, column.flatten(), strict=True) if is_divided else ()
            columns += [(f"{name}.{field.name}", part) for field, part in parts] if is_divided else [(name, column)]
        table = pa.table([column for _, column in columns], [name for name, _ in columns])
    return table
