"""Split rows into training, validation and test: by a stable hash, by time, or by a column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.durations import parse_duration
from evergreen.core.errors import DataError
from evergreen.data import kinds, row_ids
from evergreen.data.arrow import combine_chunks, decode_array, to_names, to_numpy, to_strings
from evergreen.data.prepare.infer import Schema
from evergreen.data.prepare.times import parse_times

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(len(SPLITS))
NO_SPLIT = -1  # in no split
WORDS = {  # as a column names the splits, in lower case, with letters alone
    **dict.fromkeys(("train", "training", "trn", "learn", "fit"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "validate", "dev", "development", "tune"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout", "evaluation", "eval"), TEST),
}
Moment = str | int | float | None


def compute_row_ids(table: pa.Table, schema: Schema, key: Sequence[str] = ()) -> np.ndarray:
    """Return (N, 2) uint64 ids of rows: of their key columns, or else of their inputs and target.

    Neither place nor origin counts, nor the order of columns, nor whether 3 was stored as an integer.
    """
    if key:
        return row_ids.hash_rows((to_names(decode_array(table.column(name))) for name in sorted(key)), len(table))
    columns = [(kinds.find(kind), combine_chunks(table.column(name))) for name, kind in sorted(schema.kinds.items())]
    return row_ids.hash_rows((_identity(kind, column) for kind, column in columns), len(table))


def _identity(kind: kinds.Kind, column: pa.Array) -> pa.Array | list[bytes]:
    if not pa.types.is_dictionary(column.type):
        return kind.hash_input(decode_array(column))
    known = kind.hash_input(decode_array(column.dictionary))
    known = known if isinstance(known, pa.Array) else pa.array(known, pa.binary())
    return pa.DictionaryArray.from_arrays(column.indices, known)


def hash_ids(ids: np.ndarray, seed: int, classes: pa.Array | None = None) -> np.ndarray:
    """Return (N,) hashes in [0, 1) of ids (N, 2), the seed and `classes`, texts, alone; equal rows have equal ones."""
    return row_ids.hash_to_unit_interval(ids, seed, *([] if classes is None else [row_ids.hash_strings(classes)]))


def split_hashes(hashes: np.ndarray, test_share: float, validation_share: float) -> np.ndarray:
    """Return (N,) TEST for the lowest hashes in [0, 1), VALIDATION for the next ones, TRAIN for the others."""
    return np.where(hashes < test_share, TEST, np.where(hashes < test_share + validation_share, VALIDATION, TRAIN))


def split_by_time(
    column: pa.Array | pa.ChunkedArray,
    name: str,
    test_share: float,
    validation_share: float,
    validate_from: Moment = None,
    test_from: Moment = None,
    gap: str | int | float = 0,
    format: str = "",
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return ((N,) TRAIN, VALIDATION or TEST, the cuts) by time.

    Rows from `validate_from` on validate, from `test_from` on test. A cut that is not given is taken so that the
    fractions of the rows, in order of time, come out. Rows less than `gap` before a cut are in NO_SPLIT: so far may
    a row's target reach ahead ("7d", or units where times are numbers). `format` is how times are written, where it
    was detected before.
    """
    check_fractions(test_share, validation_share)
    typed = parse_times(decode_array(column), name, format)
    values = to_numpy(typed)
    ordered = np.sort(values)
    cuts = {}
    for label, given, share in (
        ("validate_from", validate_from, test_share + validation_share),
        ("test_from", test_from, test_share),
    ):
        cuts[label] = ordered[int(len(ordered) * (1 - share))] if given is None else _moment(given, typed.type, label)
    if not cuts["validate_from"] < cuts["test_from"]:
        problem = f"validate_from ({cuts['validate_from']}) is not before test_from ({cuts['test_from']})"
        raise DataError(problem, place="preprocess", fix="give both cuts, validate_from first")
    splits = np.where(values >= cuts["test_from"], TEST, np.where(values >= cuts["validate_from"], VALIDATION, TRAIN))
    if width := _width(gap, typed.type):
        for cut in cuts.values():
            splits[(values < cut) & (values >= cut - width)] = NO_SPLIT
    return splits, {label: cut.item() if values.dtype.kind != "M" else str(cut) for label, cut in cuts.items()}


def split_by_column(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return (N,) TRAIN, VALIDATION or TEST as a column says in the usual words, in any case; else NO_SPLIT."""
    words = pc.ascii_lower(pc.replace_substring_regex(to_strings(decode_array(column)), r"[^A-Za-z]", ""))
    places = to_numpy(pc.index_in(words, pa.array(WORDS)).fill_null(len(WORDS)))
    return np.array([*WORDS.values(), NO_SPLIT]).take(places)


def _width(gap: str | int | float, kind: pa.DataType) -> Any:
    """Return a gap in the unit of a column's times."""
    number = pa.types.is_floating(kind)
    wrong = DataError(
        f"{gap!r} is not a valid distance between times of this column",
        place="preprocess.gap",
        fix="give a number of their units" if number else 'give "12h", "7d" or "2w"',
    )
    if isinstance(gap, str) == number and gap:
        raise wrong
    try:
        return float(gap) if number or not gap else np.timedelta64(round(parse_duration(str(gap))), "us")
    except ValueError as error:
        raise wrong from error


def _moment(given: Moment, kind: pa.DataType, label: str) -> Any:
    wrong = DataError(
        f"{given!r} is not a valid time of the column",
        place=f"preprocess.{label}",
        fix='write it as the column does: a number for numbers, "2024-01-31" for dates',
    )
    if pa.types.is_floating(kind):
        try:
            return np.float64(given)
        except (TypeError, ValueError) as error:
            raise wrong from error
    try:
        return np.datetime64(str(given), "us")
    except ValueError as error:
        raise wrong from error


def check_fractions(test: float, validation: float) -> None:
    """Raise DataError unless both fractions are positive and leave rows to train on."""
    if not (0 < test < 1 and 0 < validation < 1 and test + validation < 1):
        problem = f"test_share {test} and validation_share {validation} leave no rows for one of the splits"
        raise DataError(problem, place="preprocess", fix="make both greater than 0 and their sum less than 1")
