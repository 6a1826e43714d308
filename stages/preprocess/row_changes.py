"""Compare prepared rows with those before: which came, went and moved, and which columns changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evergreen.core.errors import DataError
from evergreen.data import kinds, row_ids
from evergreen.data.arrow import decode_array
from evergreen.data.parquet import RowGroup
from evergreen.data.prepare.split import SPLITS
from evergreen.data.prepared import hash_sample, row_groups

MOST = 200_000  # rows of each version that are compared: those with the smallest ids
SIDES = ("before", "now")
ROWS = 5_000  # training rows whose columns are compared
OTHERWISE = 0.1  # difference of two distribution functions from which on a column is named
Array = np.ndarray[Any, Any]


def compare_rows(before: Path, now: Path, last_moves: Mapping[str, Any], kind_of: Mapping[str, str]) -> dict[str, Any]:
    """Compare the rows of two folders by their ids.

    Returns {"rows": split → {"came", "went"}, "moved": rows in another split than before, "share": fraction that
    was compared, "columns": words}; `last_moves` as long as nothing changed; {} where no rows were prepared before.
    """
    try:
        groups = [{name: row_groups(folder, name) for name in SPLITS} for folder in (before, now)]
        max_rows = max(sum(unit.rows for split in one.values() for unit in split) for one in groups)
        share = min(1.0, MOST / max(1, max_rows))
        (mine, my_split), (theirs, their_split) = (_places(one, share) for one in groups)
    except (DataError, KeyError):
        return {}
    came, went = ~np.isin(theirs, mine), ~np.isin(mine, theirs)
    _, at, to = np.intersect1d(mine, theirs, return_indices=True)
    moved = int((my_split[at] != their_split[to]).sum())
    if not (came.any() or went.any() or moved):
        return dict(last_moves)
    rows = {
        name: {"came": int((their_split[came] == code).sum()), "went": int((my_split[went] == code).sum())}
        for code, name in enumerate(SPLITS)
    }
    return {"rows": rows, "moved": moved, "share": share, "columns": _otherwise(before, now, kind_of)}


def _places(groups: Mapping[str, list[RowGroup]], share: float) -> tuple[Array, Array]:
    """Return (N,) the first 64 bits of the smallest row ids, this fraction of all, and (N,) their splits."""
    ids, splits = [np.zeros(0, np.uint64)], [np.zeros(0, np.int8)]
    limit = np.uint64(min(share * 2.0**64, 2.0**64 - 2048))
    for code, name in enumerate(SPLITS):
        for unit in groups[name]:
            column = unit.read(["_id"]).column("_id")
            if column.type != row_ids.ID:
                raise DataError("an earlier release prepared the rows")
            group_ids = row_ids.from_arrow(column)[:, 0]
            ids.append(group_ids if share == 1 else group_ids[group_ids <= limit])
            splits.append(np.full(len(ids[-1]), code, np.int8))
    return np.concatenate(ids), np.concatenate(splits)


def _otherwise(before: Path, now: Path, kind_of: Mapping[str, str]) -> list[str]:
    from evergreen.data.quality.column_distance import distance

    old, new = (hash_sample(folder, "train", ROWS, groups=8) for folder in (before, now))
    changed = []
    for name, kind in kind_of.items():
        if not kinds.find(kind).SCALAR or name not in old.column_names or name not in new.column_names:
            continue
        one, two = decode_array(old.column(name)), decode_array(new.column(name))
        if one.type == two.type and (far := distance(one, two, kind)) >= OTHERWISE:
            changed.append((far, f"column '{name}': {kinds.find(kind).describe_drift(one, two, SIDES)}"))
    return [text for _, text in sorted(changed, key=lambda pair: -pair[0])]
