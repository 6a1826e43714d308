"""Find rows that are on both sides of a split, equal or nearly: a model that memorized one knows the other.

Columns that can tell rows apart (long texts, images, sounds) decide; without such a column all scalar columns together.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from evergreen.data import kinds
from evergreen.data.arrow import decode_array, joint_codes
from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate, match_rounded


def find_near_duplicates(table: pa.Table, other: pa.Table, kind_of: Mapping[str, str]) -> list[NearDuplicate] | None:
    """Match each row of `table` with the row of `other` most like it, by the columns of `kind_of` (column → kind).

    Returns None where nothing can be said: rows hold nothing that tells them apart, or overlap by design.
    """
    telling = {name: kinds.find(kind) for name, kind in kind_of.items() if kinds.find(kind).TELLS_ROWS_APART}
    matches = {
        name: kind.find_near_duplicates(decode_array(table.column(name)), decode_array(other.column(name)))
        for name, kind in telling.items()
    }
    known = [found for found in matches.values() if found is not None]
    if not known:
        return _match_scalars(table, other, kind_of)
    shared = set.intersection(*({(match.row, match.match) for match in found} for found in known))
    short = [name for name, found in matches.items() if found is None and _is_scalar(telling[name], table, name)]
    return [
        match
        for match in known[0]
        if (match.row, match.match) in shared
        and all(table.column(name)[match.row] == other.column(name)[match.match] for name in short)
    ]


def _match_scalars(table: pa.Table, other: pa.Table, kind_of: Mapping[str, str]) -> list[NearDuplicate] | None:
    """Match rows whose numbers are equal within rounding and whose other values are equal."""
    if not all(_is_scalar(kinds.find(kind), table, name) for name, kind in kind_of.items()):
        return None
    sides = [
        {name: kinds.find(kind).to_scalars(decode_array(side.column(name))) for name, kind in kind_of.items()}
        for side in (table, other)
    ]
    numbers = [name for name, values in sides[0].items() if isinstance(values, np.ndarray)]
    words = [name for name in kind_of if name not in numbers]
    codes = [joint_codes(*(side[name] for side in sides)) for name in words]
    one, two = (
        np.stack([side[name] for name in numbers] + [code[part] for code in codes], axis=1).astype(np.float64)
        for side, part in zip(sides, (slice(len(table)), slice(len(table), None)), strict=True)
    )
    return match_rounded(one, two, n_exact=len(words))


def _is_scalar(kind: kinds.Kind, table: pa.Table, name: str) -> bool:
    return kind.to_scalars(decode_array(table.column(name).slice(0, 0))) is not None
