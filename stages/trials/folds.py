"""Cross-validation where rows are few: the training and validation rows together, each scored once by a network that
has not seen it (Stone 1974). Test rows are in no fold: they are not even read.

Which fold a row is in follows from what it is, or from its group: rows that come or go move none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.settings import PipelineError

Arrays = dict[str, np.ndarray[Any, Any]]
Fold = tuple[int, int]  # which one, of how many


def divided(
    train: Mapping[str, Any], validation: Mapping[str, Any], names: Sequence[str], fold: Fold
) -> tuple[Arrays, Arrays]:
    """The rows to learn from and those to score by in one fold. `names` are those of the training rows, then of the
    validation rows. Raises PipelineError where one of both would be none."""
    number, count = fold
    whole = {name: np.concatenate([column, validation[name]]) for name, column in train.items()}
    held = places(names, count) == number
    if held.all() or not held.any():
        raise PipelineError(f"folds: {len(names)} rows do not fill {count} of them", fix="say fewer, or 0 for seeds")
    learned, scored = ({name: column[rows] for name, column in whole.items()} for rows in (~held, held))
    return learned, scored


def names(ready: Path) -> list[str]:
    """What the rows of the training and the validation split are called: by their group, else by what they are."""
    from data.ready import read

    tables = [read(ready, split) for split in ("train", "validation")]
    column = "_group" if "_group" in tables[0].column_names else "_id"
    return [name for table in tables for name in table.column(column).cast("string").to_pylist()]


def places(names: Sequence[str], count: int) -> np.ndarray[Any, Any]:
    """(N,) the fold of each row, a function of its name alone."""
    words = b"".join(hashlib.blake2b(name.encode(), digest_size=8, person=b"fold").digest() for name in names)
    return (np.frombuffer(words, "<u8") % np.uint64(count)).astype(np.int64)
