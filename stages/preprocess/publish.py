"""Publish prepared rows in place of those that were ready, with a summary."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evergreen.core.files import atomic_directory, write_json
from evergreen.core.paths import Paths
from evergreen.data import kinds, row_ids
from evergreen.data.prepare.invalid_rows import QUARANTINE
from evergreen.data.prepared import QUARANTINED, SCHEMA, row_groups
from evergreen.data.prepared import write as write_table
from evergreen.data.quality import profile
from evergreen.data.spec import FeatureSpec
from evergreen.stages.preprocess.changes import write_description
from evergreen.stages.preprocess.passes import PreparedResult
from evergreen.stages.preprocess.samples import Samples

BYTES_OF_AN_ID = 24  # while they are sorted
SHARE = 4  # ids take at most one part in so many of memory_mb


def publish(
    done: PreparedResult, spec: FeatureSpec, summary: dict[str, Any], rows: Samples, paths: Paths
) -> dict[str, Any]:
    """Write the folders `ready` and `described`; return the history of the latter. `rows` are samples."""
    with atomic_directory(paths.ready) as folder:
        for name in (*spec.rows, QUARANTINED):
            _placed(done.folder / name, folder / name)
        if not summary["quarantined"]["rows"]:
            (folder / QUARANTINED).rmdir()
            write_table(QUARANTINE.empty_table(), folder / QUARANTINED)
        spec.save(folder)
        write_json(folder / "summary.json", summary)
        facts = profile.to_json(done.tally.seen, summary["quarantined"]["rows"])
        write_json(folder / SCHEMA, facts, sort=False)  # columns in their order
        # first: a run that is killed in between compares again
        way = done.reader.splitter
        return write_description(paths, folder, rows, spec, summary, way.known if way else None)


def _placed(parts: Path, folder: Path) -> None:
    """Link part files into a folder, or copy them where the file system cannot link."""
    folder.mkdir()
    for path in sorted(parts.glob("part-*.parquet")):
        try:
            os.link(path, folder / path.name)
        except OSError:
            shutil.copyfile(path, folder / path.name)


def summarize(done: PreparedResult, spec: FeatureSpec, memory_mb: int) -> dict[str, Any]:
    """Return counts by split, class and reason, and notes on missing values."""
    tally, schema = done.tally, done.reader.schema
    classes = {split: dict(sorted(tally.classes.get(split, {}).items())) for split in spec.rows}
    reasons = tally.quarantined()
    missing = {name: sum(held[name] for held in tally.nulls.values()) for name in spec.columns}
    missing = {name: count for name, count in missing.items() if count}
    flagged = {field.columns[place] for field in spec.inputs.values() for place in field.state.get("missing_flags", ())}
    filled = [
        f"column '{name}': {count} missing values are {kinds.find(schema.inputs[name]).MISSING_BECOMES}"
        + (", and a flag says so" if name in flagged else "")
        for name, count in missing.items()
        if kinds.find(schema.inputs[name]).MISSING_BECOMES
    ]
    twins = _twins(done.folder, spec.rows, memory_mb) if not kinds.find(schema.target_kind).SPANS_ROWS else []
    left = [f"{tally.left:,} rows are left out by `filter`"] if tally.left else []
    notes = [*done.reader.notes(), *left, *twins, *tally.notes, *filled]
    return {
        "rows": spec.rows,
        "classes": classes if kinds.kind_of(spec.target).HAS_CLASSES else {},
        "quarantined": {"rows": sum(reasons.values()), "reasons": reasons},
        "left_out": tally.left,
        "inputs": schema.inputs,
        "missing": missing,
        "by": done.reader.split_method,
        "cuts": tally.cuts or done.reader.cuts,
        "notes": notes,
    }


def _twins(folder: Path, rows: Mapping[str, int], memory_mb: int) -> list[str]:
    """Return a note on rows that repeat another, by half of their ids, in as many rounds as memory asks for."""
    groups = [unit for split in rows for unit in row_groups(folder, split)]
    rounds = -(-sum(rows.values()) * BYTES_OF_AN_ID * SHARE // (memory_mb << 20))
    twins = 0
    for turn in range(rounds):
        hashes = []
        for unit in groups:
            numbers = row_ids.from_arrow(unit.read(["_id"]).column("_id"))[:, 0]
            hashes.append(numbers[numbers % np.uint64(rounds) == turn] if rounds > 1 else numbers)
        all_hashes = np.concatenate(hashes)
        all_hashes.sort()
        twins += int(np.count_nonzero(all_hashes[1:] == all_hashes[:-1]))
    return [f"{twins} rows repeat another row; they are kept in the same split"] if twins else []
