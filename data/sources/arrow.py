"""Arrow and Feather files, and the folders that Hugging Face's `datasets` saves: one data set, or several named splits.

The splits of a saved dictionary of data sets become rows that say theirs in a column `split`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data import sources
from evergreen.data.sources._files import open_decompressed

FOLDER_OF = (".arrow", ".feather")
STATE, SPLITS = "state.json", "dataset_dict.json"  # what `save_to_disk` writes beside the rows
SPLIT = "split"


class ArrowSource(sources.FileSource):
    ENDINGS = FOLDER_OF

    def rows(self, path: Path, name: str) -> Iterator[pa.RecordBatch]:
        split = PurePosixPath(name).parts[0] if (self.folder / SPLITS).is_file() else None
        first = 0
        try:
            for batch in _read(path):
                table = _named(pa.Table.from_batches([batch])).replace_schema_metadata()
                if split and SPLIT not in table.column_names:
                    table = table.append_column(SPLIT, pa.array([split] * len(table), pa.string()))
                yield from sources.with_origin(table, name, first).combine_chunks().to_batches(sources.ROWS)
                first += len(batch)
        except (pa.ArrowInvalid, OSError) as error:
            reason, fix = str(error).splitlines()[0], "write the file again: it is damaged or has another format"
            raise DataError(f"is not a readable Arrow file ({reason})", place=str(path), fix=fix) from error

    def names(self) -> Sequence[str]:
        """Return the files that a saved data set lists; its folder may hold others."""
        path = self.root / self.name
        if self.only is not None or not path.is_dir():
            return super().names()
        if (path / SPLITS).is_file():
            folders = [f"{split}/" for split in json.loads((path / SPLITS).read_text())["splits"]]
        else:
            folders = [""] if (path / STATE).is_file() else []
        listed = [
            folder + file["filename"]
            for folder in folders
            for file in json.loads((path / folder / STATE).read_text())["_data_files"]
        ]
        return listed or super().names()


def _named(table: pa.Table) -> pa.Table:
    """Replace classes by their names, and images and sounds by their bytes, where `datasets` wrote what columns are."""
    metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features", {})
    for place, field in enumerate(table.schema):
        column, feature = table.column(field.name), features.get(field.name)
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names"):
            names = pa.array(feature["names"], pa.string())
            known = pc.if_else(pc.greater_equal(column, 0), column, None)  # -1 is a class nobody knows
            table = table.set_column(place, field.name, names.take(known.combine_chunks()))
        elif pa.types.is_struct(field.type) and {one.name for one in field.type} == {"bytes", "path"}:
            table = table.set_column(place, field.name, pc.struct_field(column, "bytes"))
    return table


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a file in either of Arrow's layouts, for random access or for streams."""
    with open_decompressed(path) as file:
        signature = file.read(6)
    if signature == b"ARROW1" and path.suffix in FOLDER_OF:
        with pa.memory_map(str(path)) as memory, pa.ipc.open_file(memory) as reader:
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        with open_decompressed(path) as stream, pa.ipc.open_stream(stream) as batches:
            yield from batches
