"""Deal rows to splits: each class gets its exact shares, and no row ever moves.

Where a hash alone decides, 3 or 13 of 40 rows may test. So the rows of a version are dealt together:

- What stays together is a *unit*: equal rows, rows of one key, rows of one group. A unit that was dealt before keeps
  its split. Of the new rows of a class, in the order of their hashes, the first test and the next ones validate, as
  many as the class owes to each split. Units of several rows come first, each to the split that lacks its classes most;
  single rows then fill up the shares. A class's first row trains. Numbers have ten classes of equal size, others one.
- The hashes are of the row, the seed, and the few lowest units of the table. So tables drawn from one are split
  independently of each other, and yet a table with a few rows more or less keeps nearly all in their places.
- The *assignment*, unit → split of all that was ever dealt, is stored beside the rows as a DVC out, which the next run
  reads. A row that went leaves its place to new ones, and comes back to the same split.
- Without a stored assignment all rows are new. The same rows are then dealt alike, in any order and on any machine.
- Above MAX_UNITS the hash alone is even enough: a full assignment takes in nothing more, and other rows go by their
  hash from then on.
- Another seed, fraction or column asks for another split: the stored assignment does not count, and all are dealt anew.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evergreen.core.errors import DataError
from evergreen.data import row_ids
from evergreen.data.arrow import combine_chunks, to_numpy
from evergreen.data.parquet import read_file
from evergreen.data.prepare.split import NO_SPLIT, SPLITS, TEST, TRAIN, VALIDATION

FORMAT, FILE = 1, "splits.parquet"
MAX_UNITS = 1_000_000  # above it the shares of hashes err by less than one row in a thousand
SALTS = 3  # lowest units: with one part in a hundred of the rows new, they stay the same in 97 of 100 tables
BINS, BIN_ROWS = 10, 20  # classes of numbers, and rows that each has at least
ROUNDING = 1e-9
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Assignment:
    """Hold the split of every unit that was ever dealt; `settings` say of which way to split."""

    settings: str
    units: Array = field(default_factory=lambda: np.zeros(0, np.uint64))  # (N,) in order: the first 64 bits of ids
    splits: Array = field(default_factory=lambda: np.zeros(0, np.int8))  # (N,)
    is_full: bool = False

    def __repr__(self) -> str:
        """Tell assignments apart by a hash of what they hold."""
        held = hashlib.blake2b(self.units.tobytes() + self.splits.tobytes(), digest_size=16).hexdigest()
        return f"Assignment({self.settings!r}, {held}, {self.is_full})"

    def find(self, units: Array) -> Array:
        """Return (N,) the splits of units (N,), NO_SPLIT for unknown ones."""
        if not len(self.units):
            return np.full(len(units), NO_SPLIT, np.int8)
        at = np.minimum(np.searchsorted(self.units, units), len(self.units) - 1)
        return np.where(self.units[at] == units, self.splits[at], NO_SPLIT)

    def add(self, units: Array, splits: Array) -> Self:
        """Return an assignment that knows these units (N,), too; those that it knew keep their split."""
        together, first = np.unique(np.concatenate([self.units, units]), return_index=True)
        return type(self)(self.settings, together, np.concatenate([self.splits, splits])[first].astype(np.int8))

    def write(self, path: Path) -> None:
        """Write the assignment as Parquet."""
        splits = pa.DictionaryArray.from_arrays(pa.array(self.splits, pa.int8()), pa.array(SPLITS))
        facts = {"format": str(FORMAT), "settings": self.settings, "is_full": str(int(self.is_full))}
        table = pa.table({"unit": self.units, "split": splits}).replace_schema_metadata(facts)
        pq.write_table(table, path, compression="zstd", use_dictionary=["split"], write_statistics=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote. Raises DataError for a damaged file, and for one of a newer Evergreen."""
        fix = "bring it back with `dvc checkout`, or delete it"
        try:
            table = read_file(path)
            facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
            if int(facts["format"]) > FORMAT:
                fix = "install the newest Evergreen"
                raise DataError("a newer Evergreen recorded the splits", place=str(path), fix=fix)
            splits = pc.index_in(table.column("split").cast(pa.string()), pa.array(SPLITS))
            numbers = splits.to_numpy().astype(np.int8)
            return cls(facts["settings"], table.column("unit").to_numpy(), numbers, facts["is_full"] == "1")
        except (pa.ArrowException, OSError, KeyError) as error:
            problem = f"the record of the splits is damaged ({str(error).splitlines()[0]})"
            raise DataError(problem, place=str(path), fix=fix) from error


def class_codes(targets: pa.ChunkedArray | None, rows: int) -> Array:
    """Return (N,) the class of each row as a number: of texts, of tenths of numbers, or 0 without targets."""
    if targets is None:
        return np.zeros(rows, np.int64)
    if pa.types.is_floating(targets.type):
        values, bins = targets.to_numpy(), min(BINS, max(1, rows // BIN_ROWS))
        return np.asarray(np.searchsorted(np.quantile(values, np.arange(1, bins) / bins), values, side="right"))
    words = combine_chunks(targets).dictionary_encode()
    ranks = np.argsort(to_numpy(pc.sort_indices(words.dictionary)))
    return ranks.take(to_numpy(words.indices))


def deal(units: Array, hashes: Array, classes: Array, known: Array, shares: tuple[float, ...]) -> Array:
    """Return (N,) the split of each row.

    `units` (N,) stay together, `hashes` (N,) float64 order them, `classes` (N,) are numbers from 0 on, `known` (N,)
    are splits that stay, or NO_SPLIT; `shares` are those of SPLITS.
    """
    splits, n_rows = known.astype(np.int8), np.bincount(classes)
    lowest = np.unique(units)[:SALTS].tolist()
    hashes = row_ids.hash_to_unit_interval(np.column_stack([units, hashes.view(np.uint64)]), *lowest)
    wanted = n_rows[:, None] * np.array(shares)  # (classes, splits) rows
    owed, is_known = wanted.copy(), known != NO_SPLIT
    np.subtract.at(owed, (classes[is_known], known[is_known]), 1)
    new = np.flatnonzero(~is_known)
    new = new[np.lexsort((units[new], hashes[new]))]
    starts = np.flatnonzero(np.diff(units[new], prepend=~units[new[:1]]))
    sizes = np.diff(starts, append=len(new))
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        rows = new[start : start + size]
        weights = Counter(classes[rows].tolist())
        splits[rows] = split = _neediest_split(weights, owed, wanted)
        for number, weight in weights.items():
            owed[number, split] -= weight
    single = new[starts[sizes == 1]]
    single = single[np.argsort(classes[single], kind="stable")]  # by class, then by hash
    ends, carried = np.searchsorted(classes[single], np.arange(len(n_rows) + 1)), np.zeros(len(shares))
    for number in np.argsort(-n_rows, kind="stable").tolist():
        rows = single[ends[number] : ends[number + 1]]
        counts = _counts(owed[number], len(rows), carried, needs_train=owed[number, TRAIN] == wanted[number, TRAIN])
        splits[rows] = np.repeat([TEST, VALIDATION, TRAIN], counts[[TEST, VALIDATION, TRAIN]])
        carried += owed[number] - counts
    return splits


def _neediest_split(weights: Counter[int], owed: Array, wanted: Array) -> int:
    """Return the split to which rows, class → count, bring the shares nearest, by chi-square."""

    def cost(split: int) -> float:
        if not wanted[:, split].any():
            return float("inf")
        changes = {number: weight * (weight - 2 * owed[number, split]) for number, weight in weights.items()}
        return float(sum(change / float(wanted[number, split]) for number, change in changes.items()))

    return min((TEST, VALIDATION, TRAIN), key=cost)


def _counts(owed: Array, rows: int, carried: Array, *, needs_train: bool) -> Array:
    """Share out the single rows of a class among the splits: (splits,) whole numbers.

    Each split gets what it is owed, rounded; what earlier classes left over decides how, so that sums come out, too.
    """
    lacks = np.maximum(owed, 0)
    counts = np.floor(lacks + ROUNDING)
    if counts.sum() > rows:  # others have more than their share already
        lacks = lacks * rows / lacks.sum()
        counts = np.floor(lacks + ROUNDING)
    claims = np.where(lacks - counts > ROUNDING, lacks - counts + carried, -np.inf)
    counts[np.argsort(-claims, kind="stable")[: rows - int(counts.sum())]] += 1
    if needs_train and rows and not counts[TRAIN]:
        counts[counts.argmax()] -= 1
        counts[TRAIN] += 1
    return counts.astype(np.int64)
