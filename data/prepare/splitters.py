"""Choose how a pipeline splits its rows: by a hash, by group, by time, or as a column says.

Where a row goes depends on its own values, the seed, and cuts that are fixed before the first row is split. So no row
moves when others come or go.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import row_ids
from evergreen.data.arrow import RowErrors, decode_array, to_names
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.prepare import split
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.split import NO_SPLIT, TRAIN, VALIDATION
from evergreen.data.prepare.windows import no_time_error, read_times

PLACE = "preprocess"
MIDNIGHT = "T00:00:00.000000"


@dataclass(frozen=True)
class Splitter:
    """Split rows. `column` is what it reads beside the row ids."""

    by: str  # identity, group, time or given
    column: str
    test_share: float
    validation_share: float
    seed: int
    gap: str | int | float = 0
    cuts: dict[str, Any] | None = None  # of time; None until both are given or computed from rows
    format: str = ""  # of time: how it is written, once rows have been looked at
    draws_validation: bool = False  # given: no row is named to validate, so some training rows do

    def fit(self, column: pa.ChunkedArray) -> Self:
        """Return the splitter fitted to all rows of its column: cuts in time that are taken by fractions, say."""
        if self.by == "time":
            format = self.format or detect_time_format(column, self.column)
            known = read_times(decode_array(column), format)[0].drop_null()
            if not len(known):
                raise no_time_error(self.column)
            return replace(self, cuts=self._by_time(known)[1], format=format)
        if self.by == "given":
            return replace(self, draws_validation=VALIDATION not in split.split_by_column(column))
        return self

    def faults(self, column: pa.ChunkedArray) -> RowErrors:
        """Return row → error for rows whose value cannot be read."""
        return read_times(decode_array(column), self.format)[1] if self.by == "time" else {}

    def split(self, rows: pa.Table, ids: np.ndarray, classes: pa.Array | None = None) -> tuple[np.ndarray, RowErrors]:
        """Return ((N,) TRAIN, VALIDATION, TEST or NO_SPLIT, row → why in none).

        `ids` (N, 2) are the rows' ids; `classes`, texts, are spread evenly where possible.
        """
        if self.by == "time":
            places, cuts = self._by_time(rows.column(self.column))
            why = " or ".join(str(cut).removesuffix(MIDNIGHT) for cut in cuts.values())
            return places, self._aside(places, f"less than {self.gap} before {why}, where a split begins")
        if self.by == "given":
            return self._split_given(decode_array(rows.column(self.column)), ids, classes)
        if self.by == "group":
            ids, classes = group_ids(rows.column(self.column)), None
        return split.split_by_hash(ids, self.test_share, self.validation_share, self.seed, classes), {}

    def notes(self) -> list[str]:
        """Return what a person should know of the split."""
        if not self.draws_validation:
            return []
        share = f"{self.validation_share:.0%} of those that train"
        return [f"'{self.column}' names no validation rows: {share} validate, chosen by their ids, until it names some"]

    def _by_time(self, column: pa.ChunkedArray) -> tuple[np.ndarray, dict[str, Any]]:
        shares = (self.test_share, self.validation_share)
        return split.split_by_time(column, self.column, *shares, **(self.cuts or {}), gap=self.gap, format=self.format)

    def _split_given(self, column: pa.Array, ids: np.ndarray, classes: pa.Array | None) -> tuple[np.ndarray, RowErrors]:
        places = split.split_by_column(column)
        if self.draws_validation:
            half = self.validation_share / 2
            drawn = split.split_by_hash(ids, half, half, self.seed, classes) != TRAIN
            places = np.where((places == TRAIN) & drawn, VALIDATION, places)
        return places, self._aside(places, "names no split; write train, validation or test")

    def _aside(self, places: np.ndarray, why: str) -> RowErrors:
        return dict.fromkeys(np.flatnonzero(places == NO_SPLIT).tolist(), f"{self.column}: {why}")


def splitter_from_config(config: PreprocessConfig) -> Splitter:
    """Return the splitter that a pipeline asks for. Raises DataError where it asks for two."""
    columns = {"group": config.group, "given": config.split_column, "time": config.time}
    by = next((name for name, column in columns.items() if column), "identity")
    cuts = {"validate_from": config.validate_from, "test_from": config.test_from}
    fractions = config.test_fraction, config.validation_fraction
    return Splitter(by, columns.get(by, ""), *fractions, config.seed, config.gap, cuts)


def detect_time_format(column: pa.Array | pa.ChunkedArray, name: str) -> str:
    """Return the format in which a text column writes times; "" if it is not text, or unknown.

    Raises DataError where two formats match equally well.
    """
    text = decode_array(column)
    forms = dates.matching_formats(text) if pa.types.is_string(text.type) else []
    if len(forms) > 1:
        fix = f'say `kinds: {{{name}: {{kind: moment, format: "{forms[0]}"}}}}`'
        raise DataError(f"its times may be {' or '.join(forms)}", place=f"column '{name}'", fix=fix)
    return forms[0] if forms else ""


def group_ids(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return (N, 2) uint64 ids of groups; rows of one group get the same split."""
    return row_ids.hash_rows([to_names(decode_array(column)).fill_null("")], len(column))
