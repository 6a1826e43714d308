"""A table of Delta Lake: `delta:folder`, `delta:s3://bucket/table`, maybe `?version=12`.

Credentials for a bucket come from the environment, as for `s3:`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import sources

if TYPE_CHECKING:
    from deltalake import DeltaTable

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class DeltaSource(sources.Source):
    def __init__(self, name: str, root: Path) -> None:
        address, _, query_string = name.partition("?")
        super().__init__(address, root)
        option, _, number = query_string.partition("=")
        if query_string and (option != "version" or not number.isdecimal()):
            fix = "use ?version=12, or leave it out"
            raise DataError(f"'?{query_string}' is not a valid option", place=f"delta:{name}", fix=fix)
        self.version = int(number) if query_string else None

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of this version: its log says which files count and which rows are deleted."""
        row = 0
        for batch in self._table().to_pyarrow_dataset().to_batches(batch_size=sources.ROWS):
            table = pa.Table.from_batches([batch]).replace_schema_metadata()
            if len(table):
                yield from sources.with_origin(table, Path(self.name).name, row).combine_chunks().to_batches()
            row += len(table)

    def fingerprint(self) -> str:
        table = self._table()
        return f"{table.metadata().id} version {table.version()}"

    def _table(self) -> DeltaTable:
        place = self.uri
        try:
            from deltalake import DeltaTable
            from deltalake.exceptions import DeltaError, TableNotFoundError
        except ModuleNotFoundError as error:
            raise DataError("deltalake is not installed", place=place, fix="pip install 'evergreen[delta]'") from error
        address = self.name if "://" in self.name else str(self.root / self.name)
        endpoint = next((os.environ[one] for one in ENDPOINTS if os.environ.get(one)), "")
        options = {"AWS_ENDPOINT_URL": endpoint} | ({"AWS_ALLOW_HTTP": "true"} if endpoint.startswith("http:") else {})
        try:
            return DeltaTable(address, version=self.version, storage_options=options if endpoint else None)
        except TableNotFoundError as error:
            raise DataError("there is no Delta table", place=place, fix="check the address") from error
        except DeltaError as error:
            raise DataError(str(error).splitlines()[0], place=place, fix="check the address and the version") from error
