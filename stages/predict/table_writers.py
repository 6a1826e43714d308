"""Write tables of one schema as CSV or Parquet, one after the other."""

import json
from collections.abc import Generator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.spreadsheets import CsvWriter


def write_parquet(path: Path) -> Generator[int, pa.Table, None]:
    """Write the tables sent to it as Parquet, which holds every text as it is."""
    table = yield 0
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        while True:
            writer.write_table(table.cast(writer.schema))
            table = yield 0


def write_csv(path: Path, *, raw: bool) -> Generator[int, pa.Table, None]:
    """Write the tables sent to it as CSV; yield how many cells were changed, lest a spreadsheet runs them."""
    table = yield 0
    kept = [field.name for field in table.schema if not pa.types.is_binary(field.type)]  # a picture's file, say
    texts = [field.name for field in table.schema if pa.types.is_nested(field.type) or _is_tensor(field.type)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file, raw=raw)
        writer.write_rows([kept])
        while True:
            columns = [_to_text(table.column(name), nested=name in texts) for name in kept]
            writer.write_rows(zip(*columns, strict=True))
            table = yield writer.n_changed


def _is_tensor(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType)


def _to_text(column: pa.ChunkedArray, *, nested: bool) -> list[str | None]:
    """Convert a column to text for CSV, lists and structures as JSON."""
    plain = column.combine_chunks() if nested else column.cast(pa.string())
    tensors = (value.to_numpy().tolist() if value.is_valid else None for value in plain)
    values = tensors if _is_tensor(plain.type) else plain.to_pylist()
    return [json.dumps(value, ensure_ascii=False) if nested and value is not None else value for value in values]
