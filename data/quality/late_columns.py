"""Find columns that may be known only after what they are to predict, by their names, their times and what adds up.

Nothing here is certain: a person is asked. Names of what was planned or known before are never asked about.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa

from evergreen.data import kinds
from evergreen.data.arrow import decode_array, evenly_spaced_indices
from evergreen.data.prepare.timeline import ORIGINS, name_words
from evergreen.data.quality.leakage import MIN_ROWS, target_from_missingness, target_predicting_columns

LOOKED_AT = 2_000  # rows
MAX_COLUMNS = 40  # of numbers, of which each pair is tried
COMMON = 8  # columns that share a word, or half of all, from which on it names the table and not the target
GENERIC = {  # words of a target's name that say nothing of it
    *("class", "label", "target", "type", "name", "id", "y", "value", "val", "status", "category", "group", "is"),
    *("has", "number", "num", "n", "count", "total", "mean", "median", "med", "avg", "ave", "std", "min", "max", "sum"),
    *("rate", "ratio", "pct", "percent", "share", "size", "time", "date", "day", "days", "per", "in", "of", "the"),
    *("at", "to", "x", "code", "flag", "index", "level", "score", "hours", "minutes", "seconds", "month", "year"),
}
BEFORE = {  # words of what is planned, or was known before
    *("planned", "plan", "sched", "scheduled", "schedule", "expected", "estimated", "est", "forecast", "due", "budget"),
    *("crs", "quoted", "promised", "previous", "prev", "last", "past", "prior", "lag", "lagged", "before", "yesterday"),
    *("initial", "first", "start", "started", "opened", "created", "booked", "ordered", "requested", "historical"),
}
EVENTS = {"time", "at", "date", "day", "reason", "code", "result", "outcome", "duration", "actual", "final", "on"}
SPANS = {"elapsed", "duration", "actual", "taken", "took", "spent", "air", "taxi", "final", "outcome"}
ENDS = {"end", "stop", "finish", "close", "closing", "off", "dropoff", "checkout", "return", "discharge", "delivery"}
PARTICIPLE = re.compile(r".{3,}[^e]ed")
DIGITS = re.compile(r"\d+")
STEM = 5  # letters in common that make words of one stem: arrived, arrival
DIFFERENCE = 0.9  # correlation of the target with a difference of two columns
EXACT = 1e-4  # of the deviation of the smaller summand, or of the product: so far off may they be
SLOPE = 0.05  # how far the slope may be from 1 for a difference to be the target's own
UNITS = (1.0, 1e6, 60e6, 3600e6, 86400e6)  # of a target that is the difference of two times, in microseconds
LATER = 0.95  # share of the rows in which a time is later than another
Numbers = dict[str, np.ndarray]


def find_late_columns(
    table: pa.Table, inputs: Mapping[str, str], target: str, kind: str, time: str = ""
) -> dict[str, str]:
    """Return column → why it may be known only afterwards, of a raw table; `inputs` is column → kind.

    `time` is the one among them that tells when the row was, if one does.
    """
    table = table.take(pa.array(evenly_spaced_indices(len(table), LOOKED_AT)))
    asked = [name for name in inputs if name not in (target, time) and not BEFORE & {*name_words(name)}]
    late = _named_like(target, asked, [*inputs])
    late = {name: why for name, why in _predicting(table, inputs, target, kind).items() if name in asked} | late
    numbers, moments = _numbers(table, inputs)
    known = {**numbers, **moments}
    if goal := _numbers(table, {target: kind})[0]:
        late = _differences(goal[target], target, known, [*moments], asked) | late
        late = _sums(goal[target], target, known, asked) | late
    late = _later(moments, asked, time) | late
    for name in [*late]:  # what adds up to a late column is as late
        if name in known:
            rest = {other: values for other, values in known.items() if other != name}
            late = _sums(known[name], name, rest, asked) | late
    if any(" is called like " in why for why in late.values()):
        spans = [name for name in known if name in asked and _is_event(name, SPANS) and _n_values(known[name]) > 2]
        late = {name: f"'{name}' sounds like something that is measured afterwards" for name in spans} | late
    return {name: late[name] for name in inputs if name in late}


def _named_like(target: str, asked: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return the columns that share the main word of the target's name, or another one if they name an event."""
    own = [word for word in name_words(target) if word not in GENERIC and len(word) > 2]
    late: dict[str, str] = {}
    for word in own:
        called = [name for name in asked if any(_is_related(word, other) for other in name_words(name))]
        n_common = sum(any(_is_related(word, other) for other in name_words(name)) for name in names)
        if n_common > COMMON or (n_common > 2 and 2 * n_common > len(names)):
            continue
        for name in (name for name in called if not _are_numbered_alike(name, target)):
            if word == name_words(target)[-1] or _is_event(name, EVENTS):
                late[name] = f"'{name}' is called like '{target}'"
    return late


def _are_numbered_alike(name: str, target: str) -> bool:
    """Tell whether two names differ in their numbers alone: rotate.3 and rotate.8 are items of one list."""
    both = [name, target]
    return all(map(DIGITS.search, both)) and len({DIGITS.sub("", one) for one in both}) == 1


def _is_related(word: str, other: str) -> bool:
    """Tell whether two words have one stem, or one is short for the other: arr, arrival, arrived."""
    short, long = sorted((word, other), key=len)
    common = next((place for place, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if other in GENERIC or len(short) < 3:
        return False
    return common == len(short) if len(short) < STEM else common >= STEM and common >= 0.6 * len(short)


def _is_event(name: str, words: set[str]) -> bool:
    parts = name_words(name)
    return bool(words & {*parts}) or any(PARTICIPLE.fullmatch(part) for part in parts)


def _predicting(table: pa.Table, inputs: Mapping[str, str], target: str, kind: str) -> dict[str, str]:
    """Return the columns that alone predict the target of every second row by the others."""
    checked = {name: _checked(table, name, of) for name, of in {**inputs, target: kind}.items()}
    held = {name: column for name, column in checked.items() if column is not None}
    if target not in held:
        return {}
    rows = pa.table(held).filter(held[target].is_valid())
    if len(rows) < 2 * MIN_ROWS:
        return {}
    train, held_out = (rows.take(pa.array(np.arange(first, len(rows), 2))) for first in (0, 1))
    readable = {name: of for name, of in inputs.items() if name in held}
    leaks = [*target_predicting_columns(train, held_out, readable, target, kind)]
    leaks += target_from_missingness(rows, readable, target) if kinds.find(kind).HAS_CLASSES else []
    return {leak.columns[0]: leak.text.partition(":")[0].removeprefix("column ") for leak in leaks}


def _checked(table: pa.Table, name: str, kind: str) -> pa.Array | None:
    part = kinds.find(kind)
    column = decode_array(table.column(name))
    comparable = kinds.find(part.COMPARES_AS or kind)
    values, _ = part.with_options(part.infer_options(column, {})).validate(column)
    return part.to_comparable(values) if comparable.SCALAR else None


def _numbers(table: pa.Table, inputs: Mapping[str, str]) -> tuple[Numbers, Numbers]:
    """Return column → (N,) float64 of the columns of numbers, and of those that compare as numbers: times."""
    found: tuple[Numbers, Numbers] = ({}, {})
    for name, kind in inputs.items():
        compares_as = kinds.find(kind).COMPARES_AS
        column = _checked(table, name, kind) if len(found[0]) + len(found[1]) < MAX_COLUMNS else None
        values = None if column is None else kinds.find(compares_as or kind).to_scalars(column)
        if isinstance(values, np.ndarray):
            found[bool(compares_as)][name] = values
    return found


def _differences(
    goal: np.ndarray, target: str, known: Numbers, moments: Sequence[str], asked: Sequence[str]
) -> dict[str, str]:
    """Return the columns of which two differ by nearly the target, and none alone is like it."""
    late: dict[str, str] = {}
    for one, two in combinations(known, 2):
        rows = ~np.isnan(goal + known[one] + known[two])
        if rows.sum() < MIN_ROWS or (one in moments) != (two in moments):
            continue
        first, second = known[one][rows], known[two][rows]
        alone = max(abs(_correlation(goal[rows], values)) for values in (first, second))
        fit = _correlation(goal[rows], first - second)
        slope = fit * np.std(goal[rows]) / (np.std(first - second) or 1.0)
        units = UNITS[1:] if one in moments else UNITS[:1]
        if abs(fit) >= max(DIFFERENCE, alone + 0.05) and any(abs(abs(slope) * unit - 1) <= SLOPE for unit in units):
            later, earlier = (one, two) if slope > 0 else (two, one)
            ends = {later} if one in moments else {later, earlier}  # a row begins with the earlier of two times
            late |= dict.fromkeys(ends & {*asked}, f"'{target}' is nearly '{later}' - '{earlier}'")
    return late


def _sums(goal: np.ndarray, name: str, known: Numbers, asked: Sequence[str]) -> dict[str, str]:
    """Return the columns of which two add up to a column, or differ by it, exactly."""
    late: dict[str, str] = {}
    for one, two in combinations(known, 2):
        rows = ~np.isnan(goal + known[one] + known[two])
        first, second = known[one][rows], known[two][rows]
        varies = min(np.std(first), np.std(second)) if rows.sum() >= MIN_ROWS else 0.0
        sums = {f"'{one}' + '{two}'": first + second, f"'{one}' × '{two}'": first * second}
        sums |= {f"'{one}' - '{two}'": first - second, f"'{two}' - '{one}'": second - first}
        for words, values in sums.items():
            scale = np.std(values) if "×" in words else varies
            if varies and np.ptp(goal[rows] - values) <= EXACT * scale:
                late |= dict.fromkeys({one, two} & {*asked}, f"'{name}' is {words}")
    return late


def _later(moments: Numbers, asked: Sequence[str], time: str) -> dict[str, str]:
    """Return the times that lie after that of the row, or after another one if their name says so."""
    late: dict[str, str] = {}
    begins = [name for name in moments if not ORIGINS & {*name_words(name)}]
    for first, other in ((first, other) for first in begins for other in moments if other != first and other in asked):
        rows = ~np.isnan(moments[first] + moments[other])
        is_end = first == time or _is_event(other, ENDS)
        if rows.sum() and is_end and (moments[other] > moments[first])[rows].mean() >= LATER:
            late[other] = f"'{other}' lies after '{first}'"
    return late


def _n_values(values: np.ndarray) -> int:
    return len(np.unique(values[~np.isnan(values)]))


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    spread = float(np.std(one) * np.std(two))
    return float(((one - one.mean()) * (two - two.mean())).mean()) / spread if spread else 0.0
