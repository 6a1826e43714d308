"""A SQLite database: `sqlite:shop.db?table=orders`, or `?query=SELECT …`; a file with one table needs neither."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.sources._database import DatabaseSource, load_driver, quote_identifier
from evergreen.data.sources._files import combined_hash, list_with_hashes


class SqliteSource(DatabaseSource):
    DRIVER = "adbc_driver_sqlite"

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def place(self) -> str:
        return str(self.path)

    def connect(self) -> Any:
        if not self.path.is_file():
            raise DataError("there is no such file", place=self.place, fix="check the path; it is relative to the root")
        return load_driver(self.DRIVER, self.place).connect(f"file:{self.path.as_posix()}?mode=ro")

    def tables(self, cursor: Any) -> list[str]:
        cursor.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
        return [name for (name,) in cursor.fetchall()]

    def cast_query(self, cursor: Any, query: str) -> str:
        """Cast columns of several types to text, and those of integers and floats to floats.

        In SQLite each value has its own type. The driver takes a column's type from its first values, so a row
        of the right types, which `query_rows` leaves out again, comes first.
        """
        cursor.execute(f"SELECT * FROM ({query}) LIMIT 0")
        names = [one[0] for one in cursor.description]
        found = {}
        for name in names:
            cursor.execute(f"SELECT DISTINCT typeof({quote_identifier(name)}) FROM ({query})")
            found[name] = {kind for (kind,) in cursor.fetchall()} - {"null"}
        kinds = {name: _common_type(types) for name, types in found.items()}
        first = ", ".join(f"{SAMPLES[kind]} AS {quote_identifier(name)}" for name, kind in kinds.items())
        rest = ", ".join(
            quote_identifier(name)
            if found[name] <= {kind.lower()}
            else f"CAST({quote_identifier(name)} AS {kind}) AS {quote_identifier(name)}"
            for name, kind in kinds.items()
        )
        return f"SELECT {first} UNION ALL SELECT * FROM (SELECT {rest} FROM ({query}))"

    def query_rows(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(batches):
            yield batch.slice(0 if number else 1)

    def fingerprint(self) -> str:
        """Return the hash of the file, and of its write-ahead log."""
        files = [self.path, self.path.with_name(f"{self.path.name}-wal")]
        names = [file.name for file in files if file.is_file() and file.stat().st_size]
        return f"{combined_hash(list_with_hashes(self.path.parent, names, self.root))} {self.table or self.query}"


SAMPLES = {"INTEGER": "0", "REAL": "0.0", "TEXT": "''", "BLOB": "x'00'"}


def _common_type(types: set[str]) -> str:
    """Return the type that holds values of all these types."""
    if types <= {"integer"} and types:
        return "INTEGER"
    if types <= {"integer", "real"} and types:
        return "REAL"
    return "BLOB" if types == {"blob"} else "TEXT"
