"""Cut the request log into windows: so many rows of a version in production, in the order in which they were asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from evergreen.stages.request_files import PRODUCTION, read_pieces


@dataclass
class Window:
    """Rows of one version, and where they lie: DAY/STEM → (first row, row behind the last)."""

    version: str
    rows: pa.Table
    spans: dict[str, tuple[int, int]]


@dataclass
class _Open:
    """The rows of a version of which no window is made yet."""

    pieces: list[tuple[str, int, pa.Table]] = field(default_factory=list)
    n_rows: int = 0


def read_windows(
    folder: Path, position: Mapping[str, int], n_rows: int, unfinished: dict[str, int]
) -> Iterator[Window]:
    """Yield the windows behind a position; rows that fill none yet are counted in `unfinished`, by version.

    They are read again next time, so nothing of them has to be remembered, and a kill changes nothing.
    """
    versions: dict[str, _Open] = {}
    for key, first, table in read_pieces(folder, position):
        version, role = table["version"][0].as_py(), table["role"][0].as_py()
        if role != PRODUCTION:
            continue
        while table.num_rows:
            opened = versions.setdefault(version, _Open())
            piece = table.slice(0, n_rows - opened.n_rows)
            opened.pieces.append((key, first, piece))
            opened.n_rows += piece.num_rows
            table, first = table.slice(piece.num_rows), first + piece.num_rows
            if opened.n_rows == n_rows:
                yield _close(version, versions.pop(version))
    unfinished |= {version: opened.n_rows for version, opened in sorted(versions.items())}


def _close(version: str, opened: _Open) -> Window:
    spans: dict[str, tuple[int, int]] = {}
    for key, first, table in opened.pieces:
        spans[key] = (spans.get(key, (first, 0))[0], first + table.num_rows)
    rows = pa.concat_tables([table for _, _, table in opened.pieces], promote_options="permissive")
    return Window(version, rows, spans)
