"""Choose how a pipeline splits its rows: by identity, by group, by time, or as a column says.

By time and by a column a row goes where its own values say. By identity and by group rows are dealt (assignment.py):
they go where they went before, and new ones, until all rows are known, where their hash says. So no row moves when
others come or go.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import row_ids
from evergreen.data.arrow import RowErrors, decode_array, to_names
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.prepare import assignment, split
from evergreen.data.prepare.assignment import Assignment, class_codes, deal
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.split import NO_SPLIT, TEST, TRAIN, VALIDATION
from evergreen.data.prepare.times import no_time_error, read_times

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
    known: Assignment | None = None  # where rows went before, if that was looked up

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
            places = split.split_by_column(rows.column(self.column))
            if self.draws_validation:
                places = np.where(places == TRAIN, self._place(*self._units(rows, ids, classes)), places)
            return places, self._aside(places, "names no split; write train, validation or test")
        return self._place(*self._units(rows, ids, classes)), {}

    @property
    def is_dealt(self) -> bool:
        """Tell whether rows are dealt, since nothing in them says where they go."""
        return self.by in ("identity", "group") or self.draws_validation

    @property
    def deals_now(self) -> bool:
        """Tell whether new rows are dealt once all are known: they are not too many."""
        return self.known is not None and not self.known.is_full

    @property
    def shares(self) -> tuple[float, float, float]:
        """Return the share of each of SPLITS among the rows that are dealt."""
        test = 0.0 if self.by == "given" else self.test_share  # a column has named the test rows
        return 1 - test - self.validation_share, self.validation_share, test

    @property
    def settings(self) -> str:
        """Return what an assignment of rows to splits rests on."""
        return repr((self.by, self.column, *self.shares, self.seed))

    def units(self, rows: pa.Table, ids: np.ndarray, classes: pa.Array | None, targets: pa.Array | None) -> pa.Table:
        """Return what is dealt of the rows that are: columns `unit`, `hash`, `target` (`targets`) and `place`.

        `place` is the split of each as long as all rows are not known.
        """
        units, hashes = self._units(rows, ids, classes)
        table = pa.table({"unit": units, "hash": hashes, "place": self._place(units, hashes).astype(np.int8)})
        table = table if targets is None else table.append_column("target", targets)
        if self.by != "given":
            return table
        return table.filter(pa.array(split.split_by_column(rows.column(self.column)) == TRAIN))

    def deal(self, units: pa.Table) -> tuple[Self, np.ndarray]:
        """Return the splitter that knows all rows of a table, and (N,) their splits; `units` came from `units`."""
        known = self.known or Assignment(self.settings)
        keys, hashes = (units.column(name).to_numpy() for name in ("unit", "hash"))
        places = known.find(keys)
        if len(known.units) + np.count_nonzero(places == NO_SPLIT) > assignment.MAX_UNITS:
            return replace(self, known=replace(known, is_full=True)), units.column("place").to_numpy()
        classes = class_codes(units.column("target") if "target" in units.column_names else None, len(units))
        splits = deal(keys, hashes, classes, places, self.shares)
        return replace(self, known=known.add(keys, splits)), splits

    def _units(self, rows: pa.Table, ids: np.ndarray, classes: pa.Array | None) -> tuple[np.ndarray, np.ndarray]:
        """Return (N,) which rows stay together, and (N,) hashes in [0, 1)."""
        if self.by == "group":
            ids, classes = group_ids(rows.column(self.column)), None
        return ids[:, 0], split.hash_ids(ids, self.seed, classes)

    def _place(self, units: np.ndarray, hashes: np.ndarray) -> np.ndarray:
        """Return (N,) the split of each unit: as it is known, else by its hash."""
        places = split.split_hashes(hashes, self.shares[TEST], self.validation_share)
        known = self.known.find(units) if self.known else NO_SPLIT
        return np.where(known == NO_SPLIT, places, known)

    def notes(self) -> list[str]:
        """Return what a person should know of the split."""
        if not self.draws_validation:
            return []
        share = f"{self.validation_share:.0%} of those that train"
        return [f"'{self.column}' names no validation rows: {share} validate, chosen by their ids, until it names some"]

    def _by_time(self, column: pa.ChunkedArray) -> tuple[np.ndarray, dict[str, Any]]:
        shares = (self.test_share, self.validation_share)
        return split.split_by_time(column, self.column, *shares, **(self.cuts or {}), gap=self.gap, format=self.format)

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
