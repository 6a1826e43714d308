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
from evergreen.data.sources._files import File, list_with_hashes
from evergreen.data.sources._folders import label_column

FOLDER_OF = (".wav", ".flac", ".ogg", ".mp3")
TABLE, NAME = "transcripts.csv", "file"
FILES = 200  # a batch
TYPE = pa.struct([("samples", pa.list_(pa.float32())), ("rate", pa.int32())])


class AudioSource(sources.FileSource):
    ENDINGS = FOLDER_OF
    READS_TEXT = True  # the transcripts

    @classmethod
    def is_incremental(cls, names: Sequence[str]) -> bool:
        return TABLE not in names

    def files(self) -> list[File] | None:
        return None if (self.folder / TABLE).is_file() else super().files()

    def read(self) -> Iterator[pa.RecordBatch]:
        files = self.names()
        other = next((name for name in files if not name.lower().endswith(".wav")), None)
        if other and find_spec("soundfile") is None:
            raise DataError("soundfile is not installed", place=str(self.folder / other), fix=INSTALL)
        known, table = self._transcripts(self.folder)
        labels = label_column(files)
        for first in range(0, len(files), FILES):
            names = files[first : first + FILES]
            read = [_sound(self.folder / name) for name in names]
            columns = {"audio": pa.array([sound for sound, _ in read], TYPE)}
            columns |= {name: column.slice(first, FILES) for name, column in labels.items()}
            for column in known:
                values = [table.get(name, {}).get(column) for name in names]
                columns[column] = pa.array(values, pa.string())
            columns["_origin"] = pa.array(names, pa.string())
            columns["_fault"] = pa.array([fault or None for _, fault in read], pa.string())
            yield pa.RecordBatch.from_pydict(columns)

    @cached_property
    def _files(self) -> list[File]:
        table = [TABLE] if (self.folder / TABLE).is_file() else []
        return list_with_hashes(self.folder, [*self.names(), *table], self.root)

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
