"""Cross-validate where rows are few: training and validation rows together, each scored once (Stone 1974).

A row is scored by a network that has not seen it. Test rows are in no fold and are not even read. Folds are of one
size and hold each class alike (stratified: Kohavi 1995); equal rows, and those of a group, are in one of them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json
from evergreen.data import row_ids
from evergreen.data.prepare import splitters
from evergreen.data.prepared import hash_sample
from evergreen.data.row_ids import hash_to_unit_interval
from evergreen.data.spec import FeatureSpec
from evergreen.models.base import ROW_KINDS
from evergreen.models.registry import find_task

Arrays = dict[str, np.ndarray[Any, Any]]
Ids = np.ndarray[Any, Any]  # (N, 2) uint64
Fold = tuple[int, int]  # which one, of how many
SALT = 0x666F6C64  # so that a fold has nothing to do with the split
FEW_ROWS = 3_000  # training and validation rows up to which folds are worth their work, where nothing else is said
FEW_TABLE_ROWS = 10_000  # the same of a table, whose networks are small
FOLDS = 5


def default_folds(spec: FeatureSpec, ready: Path) -> int:
    """Return the folds for prepared rows where the YAML does not say; 0 for many rows or groups too few to part.

    Where a person set the splits, these stay.
    """
    rows = {split: spec.rows[split] for split in ("train", "validation")}
    if not _would_fold(spec) or _given_splits(spec, ready):
        return 0
    return FOLDS if len(np.unique(fold_ids(ready, rows), axis=0)) >= FOLDS else 0


def is_table(spec: FeatureSpec) -> bool:
    """Tell whether all inputs are values of a row as a whole, whose networks are small."""
    return all(field.kind in ROW_KINDS for field in spec.inputs.values())


def folds_note(ready: Path) -> str:
    """Say why few rows have no folds: a person set splits that random folds would not respect; "" otherwise."""
    spec = FeatureSpec.load(ready)
    why = _given_splits(spec, ready) if _would_fold(spec) else ""
    return f"; no folds by default and no training on validation rows, for {why}" if why else ""


def _would_fold(spec: FeatureSpec) -> bool:
    few = FEW_TABLE_ROWS if is_table(spec) else FEW_ROWS
    return spec.rows["train"] + spec.rows["validation"] <= few and find_task(spec.task).CROSS_VALIDATES


def _given_splits(spec: FeatureSpec, ready: Path) -> str:
    """Say by what a person split the rows, if random folds would not respect it. Groups stay whole in folds.

    Rows in order of time are among them, for a network may not learn from what came after.
    """
    if spec.time:
        return f"rows are split by the time in '{spec.time}'"
    summary = ready / "summary.json"
    given = summary.is_file() and read_json(summary).get("by") == "given"
    return "a column says which rows train and which validate" if given else ""


def split_fold(train: Mapping[str, Any], validation: Mapping[str, Any], ids: Ids, fold: Fold) -> tuple[Arrays, Arrays]:
    """Return the rows to learn from and those to score by in one fold.

    `ids` are those of the training rows, then of the validation rows. Raises PipelineError where one of both would be
    empty.
    """
    number, count = fold
    all_rows = {name: np.concatenate([column, validation[name]]) for name, column in train.items()}
    target = all_rows["target"]
    classes = target if target.ndim == 1 and np.issubdtype(target.dtype, np.integer) else None
    is_held_out = fold_of(ids, count, classes) == number
    if is_held_out.all() or not is_held_out.any():
        fix = "use fewer folds, or 0 to score with seeds"
        raise PipelineError(f"{len(ids)} rows are too few for {count} folds", fix=fix)
    learned, scored = (
        {name: column[rows] for name, column in all_rows.items()} for rows in (~is_held_out, is_held_out)
    )
    return learned, scored


def fold_ids(ready: Path, max_rows: Mapping[str, int]) -> Ids:
    """Return ids of so many rows of the training and the validation split: their groups', else their own."""
    tables = [hash_sample(ready, split, rows) for split, rows in max_rows.items()]
    if "_group" in tables[0].column_names:
        return np.concatenate([splitters.group_ids(table.column("_group")) for table in tables])
    return np.concatenate([row_ids.from_arrow(table.column("_id")) for table in tables])


def fold_of(ids: Ids, count: int, classes: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
    """Return the fold (N,) of each row; `classes` (N,) are dealt out evenly, in an order that ids alone decide."""
    units, first, place = np.unique(ids, axis=0, return_index=True, return_inverse=True)
    order = (hash_to_unit_interval(units, SALT), *([classes[first]] if classes is not None else []))
    folds = np.empty(len(units), np.int64)
    folds[np.lexsort(order)] = np.arange(len(units)) % count
    found: np.ndarray[Any, Any] = folds[place.reshape(-1)]
    return found
