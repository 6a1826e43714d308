"""A folder of WAV, FLAC, OGG or MP3 files: `audio:recordings`, or its bare name. All but WAV need the extra `audio`.

Columns: `audio`, a struct of samples and their rate; `label`, the name of the folder that a file lies in, where files
lie in folders of their own; and those of `transcripts.csv` beside them, whose column `file` names each file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import sources
from evergreen.data.kinds.sound.sound_file import INSTALL, decode_sound
from evergreen.data.sources._files import File, combined_hash, list_with_hashes, walk

FOLDER_OF = (".wav", ".flac", ".ogg", ".mp3")
TABLE, NAME = "transcripts.csv", "file"
FILES = 200  # a batch
TYPE = pa.struct([("samples", pa.list_(pa.float32())), ("rate", pa.int32())])


class AudioSource(sources.Source):
    READS_TEXT = True  # the transcripts

    @classmethod
    def is_incremental(cls, names: Sequence[str]) -> bool:
        return TABLE not in names

    def files(self) -> list[File] | None:
        folder = self._files()[0]
        return None if (folder / TABLE).is_file() else self._hashed_files

    def read(self) -> Iterator[pa.RecordBatch]:
        folder, files = self._files()
        other = next((file for file in files if file.suffix.lower() != ".wav"), None)
        if other and find_spec("soundfile") is None:
            raise DataError("soundfile is not installed", place=str(other), fix=INSTALL)
        known, table = self._transcripts(folder)
        labelled = any(file.parent != folder for file in files)
        for first in range(0, len(files), FILES):
            some = files[first : first + FILES]
            names = [file.relative_to(folder).as_posix() for file in some]
            read = [_sound(file) for file in some]
            columns = {"audio": pa.array([sound for sound, _ in read], TYPE)}
            if labelled:
                labels = [file.parent.name if file.parent != folder else None for file in some]
                columns["label"] = pa.array(labels, pa.string())
            for column in known:
                values = [table.get(name, {}).get(column) for name in names]
                columns[column] = pa.array(values, pa.string())
            columns["_origin"] = pa.array(names, pa.string())
            columns["_fault"] = pa.array([fault or None for _, fault in read], pa.string())
            yield pa.RecordBatch.from_pydict(columns)

    def fingerprint(self) -> str:
        vars(self).pop("_hashed_files", None)  # as it is now, not as it was when it was listed
        return combined_hash(self._hashed_files)

    @cached_property
    def _hashed_files(self) -> list[File]:
        folder, files = self._files()
        table = [TABLE] if (folder / TABLE).is_file() else []
        return list_with_hashes(folder, [*(file.relative_to(folder).as_posix() for file in files), *table], self.root)

    def _files(self) -> tuple[Path, list[Path]]:
        folder = self.root / self.name
        if not folder.is_dir():
            raise DataError("there is no such folder", place=str(folder), fix="check the path")
        if self.only is not None:
            return folder, [folder / name for name in self.only]
        files = [folder / name for name in walk(folder, FOLDER_OF)]
        if not files:
            fix = "save the recordings as WAV, FLAC, OGG or MP3 files"
            raise DataError("it holds no recording", place=str(folder), fix=fix)
        return folder, files

    def _transcripts(self, folder: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
        """Return (the columns of transcripts.csv, file → row); nothing where there is none."""
        path = folder / TABLE
        if not path.is_file():
            return [], {}
        with self.open_text(path) as file:
            rows = csv.DictReader(file)
            columns = list(rows.fieldnames or [])
            if NAME not in columns:
                raise DataError(f"there is no column '{NAME}'", place=str(path), fix=suggest(NAME, columns))
            for column in {"audio", "label", *sources.RESERVED} & set(columns):
                raise DataError(f"the column name '{column}' is reserved", place=str(path), fix="rename the column")
            table = {row[NAME]: {name: text for name, text in row.items() if name} for row in rows}
        return [name for name in columns if name != NAME], table


def _sound(file: Path) -> tuple[dict[str, np.ndarray | int] | None, str]:
    """Return the sound of a file, or why there is none."""
    try:
        samples, rate = decode_sound(file.read_bytes())
    except DataError as error:
        return None, error.problem
    return {"samples": samples, "rate": rate}, ""
