"""Mirror what the source holds now: of many files, read only those that are new or changed."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evergreen.data.sources import Source, cast_to_schema
from evergreen.data.sources._files import File, batch_files
from evergreen.stages.collect.compaction import drop_rows, merge_small_parts
from evergreen.stages.collect.manifest import (
    BYTES,
    ROWS,
    Part,
    load_part,
    next_number,
    publish,
    write_manifest,
    write_parts,
)

JOURNAL = "done.jsonl"


def sync_snapshot(
    source: Source,
    before: Sequence[Part],
    staging: Path,
    again: Path,
    *,
    anew: bool,
    keep: bool,
    report_rows: Callable[[int], None],
) -> tuple[list[Part], dict[str, int]]:
    """Return the parts that hold the source's rows now, and counts of its files.

    With `keep` the rows of deleted files stay; with `anew` all files are read, whether they changed or not. Parts
    that a killed collection finished are in `staging` and are not read again; rewritten parts go to `again`.
    """
    files = source.files()
    if files is None:
        return list(write_parts(source.read(), staging, 0, [], report_rows)), {}
    known = {name: stamp for part in before for name, stamp in part.stamps.items()}
    wanted = [file for file in files if anew or known.get(file.name) != file.stamp]
    changed = {file.name for file in wanted if file.name in known}
    gone = known.keys() - {file.name for file in files}
    kept = [left for part in before for left in _less(part, changed if keep else changed | gone, again)]
    done = _resumed(staging, wanted)
    had = {name for part in done for name in part.stamps}
    columns = _Columns([*kept, *done])  # what is read again may have other columns than it had
    number, written = next_number([*before, *done]), list[Future[list[Part]]]()
    with ThreadPoolExecutor(1, "finish") as finisher:  # while the disk takes one group the next is read
        for group in batch_files([file for file in wanted if file.name not in had], BYTES, ROWS):
            rows = columns.of(source.with_files([file.name for file in group]).read(), group[0].name)
            parts = write_parts(rows, staging, number, group, report_rows, name=False)
            number += len(parts)
            written.append(finisher.submit(_finished, staging, parts))
    done += [part for one in written for part in one.result()]
    counts = {"new": len(wanted) - len(changed), "changed": len(changed), "gone": len(gone)}
    return merge_small_parts([*kept, *done], again) if kept else done, counts


def without_fingerprints(part: Part) -> Part:
    """Return a part as if the files with unreadable rows had changed."""
    before = np.append(0, np.cumsum(part.faulty()))  # how many bad rows lie before each
    first, count = part.spans["offset"].to_numpy(), part.spans["rows"].to_numpy()
    stamps = pc.if_else(pa.array(before[first + count] > before[first]), "", part.spans["stamp"])
    spans = part.spans.set_column(part.spans.column_names.index("stamp"), "stamp", stamps)
    return replace(part, spans=spans, noted=None)


def _less(part: Part, names: set[str], folder: Path) -> list[Part]:
    """Return a part without the rows of some files."""
    stale = pc.is_in(part.spans["file"], pa.array(sorted(names), pa.string()))
    gone = part.spans.filter(stale)
    if not len(gone):
        return [part]
    keep = np.ones(part.rows, bool)
    for first, count in zip(gone["offset"].to_pylist(), gone["rows"].to_pylist(), strict=True):
        keep[first : first + count] = False
    return [replace(one, spans=one.spans.filter(pc.invert(stale))) for one in drop_rows(part, keep, folder)]


class _Columns:
    """Hold the columns and types that all rows share: those of the parts, else those of the first rows."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.schema = pq.read_schema(parts[0].path) if parts else None

    def of(self, batches: Iterator[pa.RecordBatch], place: str) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if self.schema is None:
                self.schema = batch.schema
            yield batch if batch.schema == self.schema else cast_to_schema(batch, self.schema, place)


def _finished(staging: Path, parts: Sequence[Part]) -> list[Part]:
    """Publish parts, and note in the journal that they hold all rows of their files."""
    for part in parts:
        publish(part.path)
    parts = write_manifest(parts, staging)
    with (staging / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write(json.dumps([part.path.name for part in parts]) + "\n")
        journal.flush()
        os.fsync(journal.fileno())
    return parts


def _resumed(staging: Path, wanted: Sequence[File]) -> list[Part]:
    """Return the parts of a killed collection whose files have not changed; drop the others."""
    journal = staging / JOURNAL
    if not journal.is_file():
        return []
    now = {file.name: file.stamp for file in wanted}
    done: list[Part] = []
    lines = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            parts = [load_part(staging / name) for name in json.loads(line)]
        except (json.JSONDecodeError, OSError, pa.ArrowInvalid):  # it was killed while it wrote this
            break
        if not all(len(part.spans) for part in parts):  # whose rows they hold is lost
            break
        if all(now.get(name) == stamp for part in parts for name, stamp in part.stamps.items()):
            lines.append(line)
            done += parts
    journal.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return done
