"""Check raw columns, and values of requests, that are taken as categories."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data.arrow import (
    EXACT,
    guess_floats,
    holds_codes,
    is_mostly_numbers,
    is_mostly_words,
    number_obstacle,
    to_names,
)
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.kinds._json import check_unicode

WHOLE = re.compile(r"0|-?[1-9]\d{0,4000}", re.ASCII)  # Python reads no longer ones

MIN_ROWS = 10  # of a class, for training, validation and test to have some each
COMMON = 0.4  # of the rows, the commonest class: with less of them accuracy does not hide the rare ones
RARE = 0.2  # of the share that each class had if all were as common
SHOWN = 3  # classes that are named


def note_mixed_column(name: str, column: pa.Array) -> list[str]:
    """Return a note where the values could be codes, dates or numbers that are not read as such."""
    if not pa.types.is_string(column.type):
        return []
    if holds_codes(column):
        code = column.filter(pc.match_substring_regex(column, r"^\s*0\d"))[0].as_py().strip()
        fix = f"to read numbers, set `kinds: {{{name}: number}}`"
        return [f"column '{name}' is taken as a category of codes, for '{code}' begins with a zero; {fix}"]
    if doubt := dates.describe_doubt(column) or number_obstacle(column):
        return [f"column '{name}' is taken as a category: {doubt}"]
    if is_mostly_words(column):
        return []
    values, errors = guess_floats(column)
    n_numbers = int(np.count_nonzero(~np.isnan(values)))
    if n_numbers <= len(errors):
        return []
    fraction = f"{len(errors) / (n_numbers + len(errors)):.0%} of its values are not numbers"
    fix = f"to quarantine those rows, set `kinds: {{{name}: number}}`"
    return [f"column '{name}' is taken as a category: {fraction}; {fix}"]


def parse_name(value: Any, kind: str, known: pa.Array) -> str | None:
    """Return the text of a value of a request: 4, 4.0, "4" and "4.0" are one; None where it cannot be of the kind.

    A number is a text only where training rows held it: 501 may be 00501 that has lost its zeros.
    """
    if kind == "boolean" or isinstance(value, bool):
        return str(value).lower() if kind == "boolean" and isinstance(value, bool) else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < EXACT else value
    if not isinstance(value, str | int | float):
        return None
    word = check_unicode(str(value))
    if kind == "integer":
        word = to_names(pa.array([word]))[0].as_py() or ""
        return word if is_whole(word) else None
    return word if isinstance(value, str) or pc.is_in(pa.scalar(word), known).as_py() else None


def is_whole(word: str) -> bool:
    """Tell whether a text is a whole number as Python writes it."""
    return bool(WHOLE.fullmatch(word))


def check_class_target(column: pa.Array, place: str) -> None:
    """Raise DataError unless a raw target column holds several classes, each of several rows."""
    words = to_names(column).drop_null()
    n_distinct = pc.count_distinct(words).as_py()
    if n_distinct == 1:
        fix = "collect rows of a second class, or choose another target"
        raise DataError(f"holds only one class: '{words[0]}'", place=place, fix=fix)
    if n_distinct > max(10, len(words) // 2):
        numeric = is_mostly_numbers(column)
        fix = "use `task: regression`" if numeric else "choose a column with fewer different values"
        problem = f"holds {n_distinct} different values in {len(words)} rows, too many for classes"
        raise DataError(problem, place=place, fix=fix)
    numbers, errors = guess_floats(column)
    values = numbers[~np.isnan(numbers)]
    if not errors and len(values) and (values != np.trunc(values)).any():
        raise DataError("holds fractions, which cannot be classes", place=place, fix="use `task: regression`")


def guess_classes(column: pa.Array) -> tuple[float, str]:
    """Return (1.0 where a raw column of numbers holds a few whole ones, else 0.0; what speaks against classes)."""
    values = guess_floats(column)[0]
    values = values[~np.isnan(values)]
    n_distinct = len(np.unique(values))
    if (values != np.trunc(values)).any() or n_distinct > min(20, max(2, len(values) // 5)):
        return 0.0, ""
    doubt = f"holds {n_distinct} whole numbers, taken as classes; for amounts: `task: regression`"
    return 1.0, doubt if n_distinct > 2 else ""


def advise_classes(name: str, column: pa.Array) -> list[str]:
    """Return what to mind where a class is much rarer than the others, or has too few rows for three splits."""
    counts = dict(Counter(to_names(column).drop_null().to_pylist()).most_common())
    total, commonest, advice = sum(counts.values()), next(iter(counts), ""), list[str]()
    if few := [f"'{word}' ({count})" for word, count in counts.items() if count < MIN_ROWS]:
        more = f" and {len(few) - SHOWN:,} more" if len(few) > SHOWN else ""
        shown = f"{', '.join(few[:SHOWN])}{more}"
        advice.append(f"'{name}' has classes of few rows, {shown}: a split may lack them; collect more or merge them")
    rare = [word for word, count in counts.items() if MIN_ROWS <= count < RARE / len(counts) * total]
    if rare and counts[commonest] >= COMMON * total:
        share = f"'{rare[0]}' is {counts[rare[0]] / total:.1%} of '{name}'"
        never = f"who always says '{commonest}' is right in {counts[commonest] / total:.1%}"
        fix = "`task: {name: classification, class_weights: balanced}` makes each class count alike"
        advice.append(f"{share}, so that {never}: mind log-loss and average precision, not accuracy; {fix}")
    return advice


def check_category_options(names: Sequence[str], most: Sequence[Any], buckets: Sequence[Any], target: bool) -> None:
    """Raise DataError where an option is not a number, or of a target, whose classes all count."""
    for name, cap, spare in zip(names, most, buckets, strict=True):
        place = f"preprocess.kinds.{name}"
        if type(cap) is not int or type(spare) is not int or cap < 1 or spare < 0:
            fix = "give whole numbers: most from 1, buckets from 0 on"
            raise DataError(f"most is {cap!r} and buckets {spare!r}", place=place, fix=fix)
        if target and spare:
            raise DataError("a target cannot have buckets", place=place, fix="leave `buckets` out")
