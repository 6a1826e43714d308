"""Hold what raw rows become: rows to learn from, each in a split, and quarantined rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.arrow import decode_array
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.infer import Schema
from evergreen.data.prepare.invalid_rows import quarantine
from evergreen.data.prepare.split import SPLITS
from evergreen.data.prepare.splitters import Splitter

FIXES = {  # of a split that holds no row
    "identity": "give more rows, larger fractions or another seed",
    "group": "give more groups, larger fractions or another seed",
    "time": "move validate_from and test_from, or make the gap shorter",
    "given": "write train, validation and test into the column, each for some rows",
}


@dataclass(frozen=True)
class PreparedRows:
    """Hold the valid rows of a table with the split of each, and the quarantined rows."""

    table: pa.Table  # columns of the schema, `_origin`, `_id`; `_weight`, `_time` or `_group` where they are asked for
    splits: np.ndarray  # (N,) places in SPLITS
    quarantine: pa.Table  # as QUARANTINE: first the rows that are bad, then those that suit no split
    bad: int  # how many are bad
    left: int = 0  # how many raw rows the pipeline is not about
    notes: list[str] = field(default_factory=list)  # what a person should know
    cuts: dict[str, Any] = field(default_factory=dict)  # the times at which validation and test begin, if by time
    units: pa.Table | None = None  # what is dealt to splits, as `Splitter.units`

    def split_rows(self, name: str) -> pa.Table:
        """Return the rows of one split, in order, in the types they are stored in."""
        rows = self.table.filter(pa.array(self.splits == SPLITS.index(name)))
        return pa.table({column: decode_array(rows.column(column)) for column in rows.column_names})

    def quarantine_rows(self, rows: np.ndarray, why: str) -> Self:
        """Return the same with the rows of a mask (N,) quarantined."""
        if not rows.any():
            return self
        more = quarantine(self.table, dict.fromkeys(np.flatnonzero(rows).tolist(), why))
        kept = {"table": self.table.filter(pa.array(~rows)), "splits": self.splits[~rows]}
        return replace(self, quarantine=pa.concat_tables([self.quarantine, more]), **kept)


class RowReader(Protocol):
    """Prepare raw rows: `table_reader` each row by itself, `series_reader` the windows of a series."""

    @property
    def schema(self) -> Schema:
        """Return the kind of each column."""
        ...

    @property
    def split_method(self) -> str:
        """Return how rows are split: identity, group, time or given."""
        ...

    @property
    def splitter(self) -> Splitter | None:
        """Return what deals rows to splits; None where their times decide."""
        ...

    @property
    def all_rows_reason(self) -> str:
        """Return why all raw rows must be read at once; "" where any rows can be read by themselves."""
        ...

    @property
    def cuts(self) -> dict[str, Any]:
        """Return the times at which validation and test begin, if the split is by time."""
        ...

    @property
    def written(self) -> Mapping[str, str]:
        """Return how the numbers and times of a series are written, by column; of other rows the schema says it."""
        ...

    def notes(self) -> list[str]:
        """Return what a person should know."""
        ...

    def prepare(self, raw: pa.Table) -> PreparedRows:
        """Prepare raw rows."""
        ...


def check_no_empty_split(rows: Mapping[str, int], by: str) -> None:
    """Raise DataError where a split is empty; `rows` is split → rows."""
    for name, count in rows.items():
        if not count:
            shown = ", ".join(f"{split} {held}" for split, held in rows.items())
            raise DataError(f"no row is left for the {name} split ({shown})", place="preprocess", fix=FIXES[by])


def warn_moving_cuts(config: PreprocessConfig, cuts: Mapping[str, Any]) -> list[str]:
    """Return a note where cuts in time were taken by fractions of the rows, and so will move."""
    if not cuts or (config.validate_from is not None and config.test_from is not None):
        return []
    text = ", ".join(f"{name}: {cut}" for name, cut in cuts.items())
    return [
        f"the cuts in time were computed from fractions of the rows and move when rows arrive; to pin them, set {text}"
    ]
