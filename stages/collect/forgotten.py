"""Leave out rows that are to be forgotten, as `pipelines/NAME.forgotten.json` names them.

A row is known by its file and the hash of its content: its number changes where others of the file go. What equals it
in the same file goes with it. A file that is a row, a picture for instance, is known by its name.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.data.arrow import to_numpy
from evergreen.data.origin_match import match_origin
from evergreen.data.sources import RESERVED, Source
from evergreen.stages.collect.compaction import drop_rows
from evergreen.stages.collect.incremental import content_hashes
from evergreen.stages.collect.manifest import Part, load_parts

Forgotten = dict[str, Any]  # "origin"; of a row in a file also "columns" and "content", a hash of their values


def read_forgotten(paths: Paths) -> list[Forgotten]:
    """Return the rows that are to be forgotten. Raises PipelineError for a file that does not name such."""
    return list(read_json(paths.forgotten, "rows")["rows"]) if paths.forgotten.is_file() else []


def hash_forgotten(paths: Paths) -> str:
    """Return a hash by which a collection knows which rows it left out; "" where there are none."""
    rows = read_forgotten(paths)
    return hashlib.blake2b(repr(rows).encode(), digest_size=16).hexdigest() if rows else ""


def find_rows(paths: Paths, origin: str) -> pa.Table:
    """Return the collected rows of an origin; an empty table where there are none."""
    tables = [
        table.filter(match_origin(table["_origin"], origin)) for table in (p.read() for p in load_parts(paths.raw))
    ]
    return pa.concat_tables([one for one in tables if len(one)] or tables[:1], promote_options="permissive")


def find_marked(source: Source, forgotten: Sequence[Forgotten]) -> pa.Table:
    """Return the rows at the source that are to be forgotten; an empty table where it holds none any more."""
    tables = (pa.Table.from_batches([batch]) for batch in source.read())
    found = [one.filter(pa.array(_find_forgotten(one, one.column_names, forgotten))) for one in tables]
    return pa.concat_tables([one for one in found if len(one)] or found[:1], promote_options="permissive")


def mark_forgotten(paths: Paths, origin: str, rows: pa.Table, id_columns: Sequence[str]) -> None:
    """Name rows of an origin in the pipeline's file, by `id_columns` where rows have such; those named stay."""
    new: list[Forgotten] = [{"origin": origin}]
    if "#" in origin:
        columns = sorted(id_columns or {*rows.column_names} - {*RESERVED})
        contents = dict.fromkeys(content_hashes(rows.select(columns)))
        new = [{"origin": origin, "columns": columns, "content": content.hex()} for content in contents]
    known = read_forgotten(paths)
    write_json(paths.forgotten, {"format": 1, "rows": known + [row for row in new if row not in known]})


def leave_out(parts: Sequence[Part], forgotten: Sequence[Forgotten], folder: Path) -> tuple[list[Part], int]:
    """Return the parts without rows to be forgotten, rewritten in `folder`, and how many rows that left out."""
    left, n_out = list[Part](), 0
    for part in parts:
        gone = _find_forgotten(part, part.columns, forgotten) if forgotten else np.zeros(part.rows, bool)
        n_out += int(np.count_nonzero(gone))
        left += drop_rows(part, ~gone, folder) if gone.any() else [part]
    return left, n_out


def _find_forgotten(rows: Part | pa.Table, names: Sequence[str], forgotten: Sequence[Forgotten]) -> np.ndarray:
    """Return (rows,) bool: the row, which has columns of these names, is to be forgotten."""
    read = rows.read if isinstance(rows, Part) else rows.select
    origins = read(["_origin"])["_origin"]
    gone = np.zeros(len(origins), bool)
    for row in forgotten:
        is_row = to_numpy(match_origin(origins, row["origin"]))
        columns = row.get("columns", ())
        if columns and {*columns} <= {*names}:
            of_file = np.flatnonzero(to_numpy(match_origin(origins, row["origin"].rpartition("#")[0])))
            hashes = content_hashes(read(columns).take(pa.array(of_file)))
            is_row = np.zeros(len(origins), bool)
            is_row[of_file] = [one.hex() == row["content"] for one in hashes]
        gone |= is_row
    return gone
