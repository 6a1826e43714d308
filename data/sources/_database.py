"""Read tables and queries of a database through ADBC: what PostgreSQL's and SQLite's sources share."""

import contextlib
import copy
import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.core.redaction import restore
from evergreen.data import sources


class DatabaseSource(sources.Source):
    """Read `NAME?table=orders` or `NAME?query=SELECT …`; a subclass says how to connect and how to write SQL."""

    DRIVER: str  # module of the driver

    def __init__(self, name: str, root: Path) -> None:
        base, _, query_string = name.partition("?")
        options = dict(parse_qsl(query_string.replace("+", "%2B"), keep_blank_values=True))
        self.table, self.query = options.pop("table", ""), options.pop("query", "")
        self.where = ""
        super().__init__(f"{base}?{urlencode(options)}" if options else base, root)

    def connect(self) -> Any:
        """Open a connection (PEP 249). Raises DataError where the database is missing."""
        raise NotImplementedError

    def tables(self, cursor: Any) -> list[str]:
        """Return the names of tables and views."""
        raise NotImplementedError

    def cast_query(self, cursor: Any, query: str) -> str:
        """Return the query with columns cast where Arrow would not know their type."""
        raise NotImplementedError

    @property
    def place(self) -> str:
        return self.name

    def with_range(self, column: str, since: Any, until: Any) -> Self:
        """Limit the rows; those without a value may come late or early, so they always come."""
        name, parts = quote_identifier(column), []
        if since is not None:
            parts.append(f"{name} >= {quote_literal(since)}")
        if until is not None:
            parts.append(f"{name} < {quote_literal(until)}")
        some = copy.copy(self)
        some.where = f" WHERE ({' AND '.join(parts)}) OR {name} IS NULL ORDER BY {name}" if parts else ""
        return some

    def read(self) -> Iterator[pa.RecordBatch]:
        row = 0
        with self._cursor() as cursor:
            query, label = self._row_query(cursor)
            cursor.execute(self.cast_query(cursor, query))
            for batch in self.query_rows(cursor.fetch_record_batch()):
                for part in range(0, len(batch), sources.ROWS):
                    table = pa.Table.from_batches([batch.slice(part, sources.ROWS)]).replace_schema_metadata()
                    yield from (
                        sources.with_origin(numeric_text_to_numbers(table), label, row).combine_chunks().to_batches()
                    )
                    row += len(table)

    def query_rows(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the batches that are rows of the query."""
        return batches

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        driver = load_driver(self.DRIVER, self.place)
        try:
            with self.connect() as connection, connection.cursor() as cursor:
                yield cursor
        except driver.Error as error:
            problem = str(error).strip().splitlines()[0]
            raise DataError(problem, place=self.place, fix="check the address, the table and its columns") from error

    def _row_query(self, cursor: Any) -> tuple[str, str]:
        """Return (the query for the rows, what their origins call it)."""
        query, table = self.query, self.table
        if query:
            label = f"query {hashlib.blake2b(restore(query).encode(), digest_size=4).hexdigest()}"
        else:
            known = self.tables(cursor)
            label = table = table or (known[0] if len(known) == 1 else "")
            if not table:
                fix = f"add ?table=…: {', '.join(known[:20]) or 'it holds none'}"
                raise DataError("it does not say which table to read", place=self.place, fix=fix)
            if table not in known:
                raise DataError(f"there is no table '{table}'", place=self.place, fix=suggest(table, known))
            query = "SELECT * FROM " + ".".join(map(quote_identifier, table.split(".")))
        return f"SELECT * FROM ({query.strip().rstrip(';')}) AS asked{self.where}", label


def load_driver(module: str, place: str) -> Any:
    try:
        return importlib.import_module(f"{module}.dbapi")
    except ModuleNotFoundError as error:
        package = module.replace("_", "-")
        raise DataError(f"{package} is not installed", place=place, fix="pip install 'evergreen[sql]'") from error


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    text = value.isoformat(sep=" ") if hasattr(value, "hour") else str(value)
    return "'" + text.replace("'", "''") + "'"


def numeric_text_to_numbers(table: pa.Table) -> pa.Table:
    """Return columns of a driver's own extension types as plain Arrow columns."""
    for place, field in enumerate(table.schema):
        if isinstance(field.type, pa.BaseExtensionType):
            table = table.set_column(place, field.name, pa.chunked_array([c.storage for c in table[field.name].chunks]))
    return table
