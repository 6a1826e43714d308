"""Check the columns of rows that were read, and say where each row came from."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data.arrow import decode_array

RESERVED = ("_origin", "_fault", "_id", "_time", "_group", "_weight")


def with_origin(table: pa.Table, name: str, first: int = 0) -> pa.Table:
    """Return a table in plain types with `_origin` "name#row", counted from `first`."""
    check_column_names(table.column_names, name)
    columns = {column: decode_array(table.column(column)) for column in table.column_names}
    return pa.table({**columns, "_origin": origins(name, np.arange(first, first + len(table)))})


def origins(name: str, places: np.ndarray) -> pa.Array:
    """Return "name#place" for each place."""
    return pc.binary_join_element_wise(name, pa.array(places).cast(pa.string()), "#")


def check_column_names(names: Sequence[str], place: str) -> None:
    """Raise DataError where a column's name comes twice, or is one of RESERVED."""
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"two columns are called '{name}'", place=place, fix="give each column its own name")
        if name in RESERVED:
            raise DataError(f"the column name '{name}' is reserved", place=place, fix="rename the column")


def cast_to_schema(batch: pa.RecordBatch, schema: pa.Schema, place: str) -> pa.RecordBatch:
    """Return a batch with the columns and types of `schema`. Raises DataError where they do not match."""
    if set(batch.schema.names) != set(schema.names):
        new, gone = set(batch.schema.names) - set(schema.names), set(schema.names) - set(batch.schema.names)
        words = [f"'{name}' is new" for name in sorted(new)] + [f"'{name}' is missing" for name in sorted(gone)]
        problem = f"its columns differ from those read before: {', '.join(words)}"
        raise DataError(problem, place=place, fix="give all files the same columns")
    columns = []
    for wanted in schema:
        column = batch.column(wanted.name)
        try:
            columns.append(column if column.type == wanted.type else column.cast(wanted.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            problem = f"column '{wanted.name}' is {column.type} here and was {wanted.type} before"
            raise DataError(problem, place=place, fix="give all files the same types") from error
    return pa.record_batch(columns, schema=schema)
