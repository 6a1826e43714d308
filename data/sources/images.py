"""A folder of images: folders named by class, pairs `images/` and `masks/`, or a table beside the images.

Folders by class: columns `image` (the file's bytes) and `label` (the folder's name). Pairs: `image` and `mask`, of the
same name. A table: the one .csv or .tsv of the folder; its columns of file names become the bytes of those files, the
first that is called as PATHS are `image`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import sources
from evergreen.data.sources._contents import FileCache, read_bytes
from evergreen.data.sources._files import File, combined_hash, list_with_hashes, walk
from evergreen.data.sources._folders import label_column
from evergreen.data.sources._scan import AT_ONCE, BYTES

FOLDER_OF = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
TABLES = (".csv", ".tsv")
PATHS = ("path", "file", "filename", "file_name", "image", "image_path")


class ImagesSource(sources.Source):
    READS_TEXT = True  # the table beside the images

    def __init__(self, name: str, root: Path) -> None:
        super().__init__(name, root)
        self._contents = FileCache()

    @classmethod
    def is_incremental(cls, names: Sequence[str]) -> bool:
        """Tell whether neither a table nor another file's name says what belongs to an image."""
        folders = {name.partition("/")[0] for name in names if "/" in name}
        return not {"images", "masks"} <= folders and not any(
            name.endswith(TABLES) for name in names if "/" not in name
        )

    def files(self) -> list[File] | None:
        files = self._hashed_files
        return files if self._apart else None

    def with_files(self, names: Sequence[str]) -> Self:
        some = super().with_files(names)
        some._contents = self._contents
        return some

    def read(self) -> Iterator[pa.RecordBatch]:
        folder = self._folder()
        if table := _table(folder):
            yield from _listed(folder, sources.open_source(table.name, folder).adopt_settings(self))
        elif (folder / "images").is_dir() and (folder / "masks").is_dir():
            yield from _paired(folder)
        else:
            yield from _by_class(folder, self.only, self._contents)

    def fingerprint(self) -> str:
        vars(self).pop("_hashed_files", None)  # as it is now, not as it was when it was listed
        return combined_hash(self._hashed_files)

    @cached_property
    def _hashed_files(self) -> list[File]:
        """Return the images, and the table beside them."""
        names = walk(self._folder(), (*FOLDER_OF, *TABLES))
        names = [name for name in names if "/" not in name or not name.endswith(TABLES)]
        self._apart = self.is_incremental(names)
        return list_with_hashes(self._folder(), names, self.root, self._contents if self._apart else None)

    def _folder(self) -> Path:
        folder = self.root / self.name
        if not folder.is_dir():
            raise DataError("there is no such folder", place=str(folder), fix="name a folder of images")
        return folder


def _images(folder: Path) -> list[Path]:
    """Return every image below the folder, sorted; hidden ones are skipped."""
    return [folder / name for name in walk(folder, FOLDER_OF)]


def _table(folder: Path) -> Path | None:
    tables = sorted(path for path in folder.glob("*") if path.suffix.lower() in TABLES and path.name[0] != ".")
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        fix = "keep only the one that names the images"
        raise DataError(f"it holds several tables: {names}", place=str(folder), fix=fix)
    return tables[0] if tables else None


def _by_class(folder: Path, only: Sequence[str] | None, contents: FileCache) -> Iterator[pa.RecordBatch]:
    names = walk(folder, FOLDER_OF) if only is None else only
    if not names:
        raise DataError("the folder holds no image", place=str(folder), fix=f"it reads {', '.join(FOLDER_OF)}")
    columns = label_column(names)
    columns |= {"_origin": pa.array(names, pa.string()), "_fault": pa.nulls(len(names), pa.string())}
    first = 0
    for images in contents.read([f"{folder}/{name}" for name in names]):
        yield pa.record_batch(
            {"image": images} | {name: column.slice(first, len(images)) for name, column in columns.items()}
        )
        first += len(images)


def _paired(folder: Path) -> Iterator[pa.RecordBatch]:
    masks, images = {path.stem: path for path in _images(folder / "masks")}, _images(folder / "images")
    files: dict[str, Sequence[Path | None]] = {"image": images, "mask": [masks.get(path.stem) for path in images]}
    yield from _batches(files, {}, [path.relative_to(folder).as_posix() for path in images])


def _listed(folder: Path, table: sources.Source) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the table; a missing file is the fault of its row."""
    rows = pa.Table.from_batches(list(table.read()))
    columns = {name: rows[name].to_pylist() for name in rows.column_names if name not in sources.RESERVED}
    named = [name for name, values in columns.items() if _names_files(values, folder)]
    if not named:
        problem, fix = "no column names the images", f"add a column `path`, the path of each image from {folder}"
        raise DataError(problem, place=str(folder / table.name), fix=fix)
    own = next((name for name in named if name.lower() in PATHS), named[0])
    paths = {name: [_existing_path(folder, value) for value in columns[name]] for name in named}
    faults: list[str | None] = rows["_fault"].to_pylist()
    for name in named:
        for row, (value, path) in enumerate(zip(columns[name], paths[name], strict=True)):
            if value and not path:
                faults[row] = faults[row] or f"there is no file: {value}"
    files: dict[str, Sequence[Path | None]] = {"image": paths.pop(own), **paths}
    others = {name: rows[name].combine_chunks() for name in columns if name not in named and name not in files}
    yield from _batches(files, others, rows["_origin"].to_pylist(), faults)


def _names_files(values: Sequence[str | None], folder: Path) -> bool:
    known = [value for value in values if value]
    endings = all(Path(value).suffix.lower() in FOLDER_OF for value in known)
    return endings and any(_existing_path(folder, value) for value in known)


def _existing_path(folder: Path, value: str | None) -> Path | None:
    return folder / value if value and (folder / value).is_file() else None


def _batches(
    files: Mapping[str, Sequence[Path | None]],
    others: Mapping[str, pa.Array],
    origin: list[str],
    faults: list[str | None] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield columns of the files' bytes and the others; bytes are read as the batches are asked for."""
    said = {**others, "_origin": pa.array(origin, pa.string())}
    said["_fault"] = pa.array(faults or [None] * len(origin), pa.string())
    read: dict[str, list[bytes | None]] = {name: [] for name in files}
    first = size = 0
    for row in range(len(origin)):
        for name, paths in files.items():
            path = paths[row]
            data = read_bytes(path) if path else None
            read[name].append(data)
            size += len(data or b"")
        count = row + 1 - first
        if count == AT_ONCE or size >= BYTES or row + 1 == len(origin):
            columns = {name: pa.array(data, pa.binary()) for name, data in read.items()}
            columns |= {name: column.slice(first, count) for name, column in said.items()}
            yield pa.record_batch(columns)
            read, first, size = {name: [] for name in files}, row + 1, 0
