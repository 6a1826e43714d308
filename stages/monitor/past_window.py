"""Find what the monitor would have found, had a version been asked some prepared rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from evergreen.data.prepared import hash_sample
from evergreen.stages.artifacts import load_model
from evergreen.stages.monitor.column_changes import find_changes
from evergreen.stages.monitor.findings import find_repeated
from evergreen.stages.monitor.reference import ROWS, read_reference, write_reference

KNOWN = {split: ROWS[split] for split in ("train", "validation")}  # what there was when the version was made


def write_past_reference(folder: Path, stored: Path, ready: Path) -> None:
    """Make the reference of a model whose test rows came after it."""
    write_reference(folder, stored, ready, KNOWN)


def find_moved(reference_folder: Path, stored: Path, ready: Path, floor: float) -> list[str]:
    """Return in words which columns of the test rows, or of the answers to them, are far from a model's reference."""
    reference = read_reference(reference_folder)
    rows = reference.restore(hash_sample(ready, "test", ROWS["test"]))
    answered = pa.table(load_model(stored).answer(rows).columns)
    encoded, unusual = reference.encode(rows)
    groups = find_repeated(list(encoded.values()))
    changes = find_changes(reference, rows, answered, unusual, groups, floor)
    return [f"{change.column}: {change.text}" for change in changes if change.matters]
