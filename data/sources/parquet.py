"""A Parquet file, or a folder of Parquet files of one schema, read in the order of their names."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.errors import DataError
from evergreen.data import sources

FOLDER_OF = (".parquet", ".pq")


class ParquetSource(sources.FileSource):
    ENDINGS = FOLDER_OF

    def rows(self, path: Path, name: str) -> Iterator[pa.RecordBatch]:
        row = 0
        try:
            with pq.ParquetFile(path) as file:
                sources.check_column_names(file.schema_arrow.names, str(path))
                for batch in file.iter_batches(batch_size=sources.ROWS):
                    table = pa.Table.from_batches([batch]).replace_schema_metadata()
                    yield from sources.with_origin(table, name, row).combine_chunks().to_batches()
                    row += len(batch)
        except (pa.ArrowInvalid, OSError) as error:
            reason, fix = str(error).splitlines()[0], "write the file again: it is damaged or has another format"
            raise DataError(f"is not a readable Parquet file ({reason})", place=str(path), fix=fix) from error
