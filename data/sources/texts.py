"""Texts: a folder of .txt and .md files, or one such file.

Files in folders named by class are rows of columns `text` and `label` (the folder's name); files side by side rows of
`text`, one a file. A single file is a corpus and cut into stretches: rows of `text`, 256 characters each, and `place`,
their number. `texts:PATH?characters=128` says how long, and makes a corpus of a folder, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import sources
from evergreen.data.sources._encoding import ENCODING_FIX
from evergreen.data.sources._files import File
from evergreen.data.sources._folders import label_column

FOLDER_OF = (".txt", ".md")
STRETCH = 256  # characters
AT_ONCE = 1000  # rows of a batch


class TextsSource(sources.FileSource):
    ENDINGS = FOLDER_OF
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
        return None if self._is_corpus() else super().files()

    def _is_corpus(self) -> bool:
        return bool(self.characters) or not (self.root / self.name).is_dir()

    def read(self) -> Iterator[pa.RecordBatch]:
        files = self.names()
        if self._is_corpus():
            parts = ((name, self._read(self.folder / name)) for name in files)
            yield from text_chunks(parts, self.characters or STRETCH)
            return
        facts = pa.table({**label_column(files), "_origin": pa.array(files)})
        for first in range(0, len(files), AT_ONCE):
            texts = [self._read(self.folder / name) for name in files[first : first + AT_ONCE]]
            some = facts.slice(first, AT_ONCE).add_column(0, "text", pa.array(texts, pa.string()))
            yield from some.combine_chunks().to_batches()

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} {self.characters}"

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
