"""PostgreSQL: `postgresql://user@host/database?table=orders`, or `?query=SELECT …`.

The password comes from PGPASSWORD or ~/.pgpass, as for every client of PostgreSQL, or from a variable in the address:
`postgresql://user:${NAME}@host/database`.
"""

from typing import Any
from urllib.parse import urlsplit

from evergreen.data.sources._database import DatabaseSource, load_driver, quote_identifier

PLAIN = frozenset({"bool", "text", "varchar", "bpchar", "bytea", "date", "time", "timestamp", "timestamptz"}) | {
    f"{many}{kind}" for many in ("", "_") for kind in ("int2", "int4", "int8", "float4", "float8", "text", "bool")
}  # types that Arrow has; a leading _ is a list of them


class PostgresqlSource(DatabaseSource):
    DRIVER = "adbc_driver_postgresql"

    @property
    def address(self) -> str:
        return f"postgresql:{self.name}"

    @property
    def place(self) -> str:
        parts = urlsplit(self.address)
        return f"postgresql://{parts.hostname or ''}{parts.path}"

    def connect(self) -> Any:
        return load_driver(self.DRIVER, self.place).connect(self.address)

    def tables(self, cursor: Any) -> list[str]:
        cursor.execute(
            "SELECT CASE WHEN table_schema = ANY (current_schemas(false)) THEN table_name"
            " ELSE table_schema || '.' || table_name END FROM information_schema.tables"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]

    def cast_query(self, cursor: Any, query: str) -> str:
        """Cast types that Arrow lacks to text, and numerics to floats."""
        cursor.execute(f"SELECT * FROM ({query}) AS asked LIMIT 0")
        names = [quote_identifier(one[0]) for one in cursor.description]
        cursor.execute(
            f"SELECT {', '.join(f'pg_typeof({name})::oid::int8' for name in names)} FROM"
            f" (SELECT 1) AS one LEFT JOIN (SELECT * FROM ({query}) AS asked LIMIT 1) AS held ON true"
        )
        oids = cursor.fetchone()
        cursor.execute(f"SELECT oid::int8, typname::text FROM pg_type WHERE oid IN ({', '.join(map(str, oids))})")
        known = dict(cursor.fetchall())
        columns = [_cast(name, known[oid]) for name, oid in zip(names, oids, strict=True)]
        return f"SELECT {', '.join(columns)} FROM ({query}) AS asked"

    def fingerprint(self) -> str:
        """Return a count and a sum of row hashes, computed by the server: the order of rows does not matter."""
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT count(*)::text || ' ' || coalesce(sum(hashtextextended(asked::text, 0)::numeric), 0)::text"
                f" FROM ({self._row_query(cursor)[0]}) AS asked"
            )
            fingerprint: str = cursor.fetchone()[0]
        return f"{fingerprint} {self.table or self.query}"


def _cast(name: str, kind: str) -> str:
    if kind in PLAIN:
        return name
    return f"{name}::{'float8' if kind == 'numeric' else 'text'} AS {name}"
