"""Texts: a folder of .txt and .md files, or one such file.

Files in folders named by class are rows of columns `text` and `label` (the folder's name); files side by side rows of
`text`, one a file. A single file is a corpus and cut into stretches: rows of `text`, 256 characters each, and `place`,
their number. `texts:PATH?characters=128` says how long, and makes a corpus of a folder, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import sources
from evergreen.data.sources._encoding import ENCODING_FIX
from evergreen.data.sources._files import File, combined_hash, list_with_hashes, walk

FOLDER_OF = (".txt", ".md")
STRETCH = 256  # characters
AT_ONCE = 1000  # rows of a batch


class TextsSource(sources.Source):
    VERSION = 2  # more encodings are found
    READS_TEXT = True

    def __init__(self, name: str, root: Path) -> None:
        name, _, option = name.partition("?")
        super().__init__(name, root)
        self.characters = parse_characters(option, f"texts:{name}")

    @classmethod
    def is_incremental(cls, names: Sequence[str]) -> bool:
        return len(names) > 1  # a single text is a corpus

    def files(self) -> list[File] | None:
        is_whole = self.characters or not (self.root / self.name).is_dir()
        return None if is_whole else self._files

    def read(self) -> Iterator[pa.RecordBatch]:
        path, paths = self.root / self.name, self._paths()
        if self.characters or not path.is_dir():
            parts = ((_origin(path, file), self._read(file)) for file in paths)
            yield from text_chunks(parts, self.characters or STRETCH)
            return
        labelled = any(file.parent != path for file in paths)
        for first in range(0, len(paths), AT_ONCE):
            chosen = paths[first : first + AT_ONCE]
            columns = {"text": pa.array(map(self._read, chosen), pa.string())}
            if labelled:
                labels = [file.parent.name if file.parent != path else None for file in chosen]
                columns["label"] = pa.array(labels, pa.string())
            yield pa.record_batch({**columns, "_origin": pa.array([_origin(path, file) for file in chosen])})

    def fingerprint(self) -> str:
        vars(self).pop("_files", None)  # as it is now, not as it was when it was listed
        return f"{combined_hash(self._files)} {self.characters}"

    @cached_property
    def _files(self) -> list[File]:
        path, paths = self.root / self.name, self._paths()
        folder = path if path.is_dir() else path.parent
        return list_with_hashes(folder, [_origin(path, file) for file in paths], self.root)

    def _paths(self) -> list[Path]:
        """Return every text below the folder, sorted; hidden ones are skipped."""
        path = self.root / self.name
        if path.is_file():
            return [path]
        if self.only is not None:
            return [path / name for name in self.only]
        paths = [path / name for name in walk(path, FOLDER_OF)]
        if not paths:
            fix = "name a file, or a folder that holds " + " or ".join(FOLDER_OF)
            raise DataError("there is no text file", place=str(path), fix=fix)
        return paths

    def _read(self, path: Path) -> str:
        try:
            with self.open_text(path, newline=None) as file:
                text = file.read()
        except (UnicodeError, OSError) as error:
            raise DataError(f"cannot be read ({error})", place=str(path), fix=ENCODING_FIX) from error
        if "\0" in text:
            raise DataError("the file is not text", place=str(path), fix="take it out of the folder")
        return text


def parse_characters(option: str, place: str) -> int:
    """Parse `characters=256`; 0 where nothing is given."""
    name, _, value = option.partition("=")
    if not option:
        return 0
    if name != "characters" or not value.isdecimal() or int(value) < 1:
        raise DataError(f"'?{option}' is not a valid option", place=place, fix=f"write ?characters={STRETCH}")
    return int(value)


def text_chunks(parts: Iterable[tuple[str, str]], length: int) -> Iterator[pa.RecordBatch]:
    """Yield named texts in chunks of `length` characters, in order; the last of a text may be shorter."""
    place, rows = 0, []
    for name, text in parts:
        for start in range(0, len(text), length):
            rows.append((text[start : start + length], place, f"{name}#{start}"))
            place += 1
            if len(rows) == AT_ONCE:
                yield _batch(rows)
                rows = []
    if rows:
        yield _batch(rows)


def _batch(rows: list[tuple[str, int, str]]) -> pa.RecordBatch:
    text, place, origin = zip(*rows, strict=True)
    return pa.record_batch({"text": pa.array(text), "place": pa.array(place, pa.int64()), "_origin": pa.array(origin)})


def _origin(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix() if file != folder else file.name
