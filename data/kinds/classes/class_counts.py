"""Count and compare the values of checked columns of words."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data.arrow import decode_array, joint_codes, to_numpy, to_strings

MAX_VALUES = 1000  # distinct values above which a profile does not hold them


def count_values(column: pa.Array) -> dict[str, int] | None:
    """Return value → rows, in alphabetical order; None where there are more than MAX_VALUES."""
    counts = pc.value_counts(column.drop_null())
    words, rows = (counts.field(name).to_pylist() for name in ("values", "counts"))
    total = Counter[str]()
    for word, count in zip(words, rows, strict=True):  # a dictionary may hold one word twice
        if word is not None:
            total[str(word)] += count
    return limit_values(total)


def commonest_and_rest(words: pa.Array, known: pa.Array) -> tuple[int | None, int]:
    """Return (the place in `known` of the commonest word, None where there is none; how many other words there are)."""
    counts = pc.value_counts(words.drop_null())
    places = pc.index_in(counts.field("values"), known)
    ranked = sorted(zip(counts.field("counts").to_pylist(), places.to_pylist(), strict=True), key=_rank)
    return ranked[0][1] if ranked else None, places.null_count


def _rank(counted: tuple[int, int | None]) -> tuple[bool, int, int]:
    count, place = counted
    return place is None, -count, place or 0


def code_of_missing(state: Mapping[str, Any], index: int) -> int:
    """Return the code of missing values of a column that no training row lacked: that of the commonest value.

    It is 0, as of unseen values, where training rows had values too rare for a slot, from which slot 0 was learned,
    where an earlier release does not know the commonest, and where training rows lacked some.
    """
    if state["missing"][index] or state.get("rare", {index: 0})[index]:
        return 0
    place = state.get("commonest", {index: None})[index]
    return 0 if place is None else 1 + place


def find_unusual(
    state: Mapping[str, Any], columns: Sequence[pa.Array], codes: np.ndarray
) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield unseen values of words with their codes (N, columns), and missing ones where no training row lacked any."""
    sizes = np.array([len(known) for known in state["values"]])
    strange = (codes == 0) | (codes > sizes)
    lacking = [
        index for index, column in enumerate(columns) if column.null_count or pa.types.is_dictionary(column.type)
    ]
    for index in sorted({*np.flatnonzero(strange.any(axis=0)).tolist(), *lacking}):  # mostly there is none
        blank = to_numpy(decode_array(columns[index]).is_null())
        if blank.any() and not state["missing"][index]:
            yield index, f"missing and taken as {_stand_in(state, index)}", blank
        if (unseen := strange[:, index] & ~blank).any():
            rarely = ", or too rarely to be learned" if state.get("rare", {index: 0})[index] else ""
            yield index, f"never seen{rarely}", unseen


def _stand_in(state: Mapping[str, Any], index: int) -> str:
    if not (code := code_of_missing(state, index)):
        return "an unseen value"
    value = state["values"][index][code - 1]
    return f"the commonest value, {str(value).lower() if isinstance(value, bool) else value}"


def limit_values(counts: Counter[str]) -> dict[str, int] | None:
    """Return counts in alphabetical order; None where there are more than MAX_VALUES."""
    return dict(sorted(counts.items())) if len(counts) <= MAX_VALUES else None


def frequency_ranks(one: pa.Array, two: pa.Array) -> np.ndarray:
    """Return (N + M, 1) for each value its place in the order of how common values are."""
    both = pa.concat_arrays([to_strings(one), to_strings(two)]).dictionary_encode()
    codes = to_numpy(both.indices.fill_null(len(both.dictionary)))
    place = np.argsort(np.argsort(-np.bincount(codes), kind="stable"), kind="stable")
    return np.asarray(place[codes], np.float64)[:, None]


def most_changed_value(one: pa.Array, two: pa.Array, names: tuple[str, str]) -> str:
    """Return in words the value whose fraction of the rows differs most between two columns."""
    words = [Counter(to_strings(side).drop_null().to_pylist()) for side in (one, two)]
    first, second = ({word: count / side.total() for word, count in side.items()} for side in words)
    word = max(sorted(first.keys() | second.keys()), key=lambda word: abs(first.get(word, 0) - second.get(word, 0)))
    return f"'{word}' in {first.get(word, 0):.0%} {names[0]}, in {second.get(word, 0):.0%} {names[1]}"


def one_hot(one: pa.Array, two: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, K), (M, K) the classes of two columns."""
    codes = joint_codes(one, two)
    classes = np.eye(codes.max() + 1)[codes]
    return classes[: len(one)], classes[len(one) :]


def describe_words(column: pa.Array, min_distinct: int) -> tuple[str, str]:
    """Return the most common values of a raw column, and a doubt where most rows have another value."""
    words = to_strings(column).drop_null().to_pylist()
    often = [word for word, _ in Counter(words).most_common()]
    more = [f"{len(often) - SHOWN:,} more"] if len(often) > SHOWN else []
    doubt = f"it has {len(often):,} different values" if len(often) > max(min_distinct, 0.5 * len(words)) else ""
    return f"{len(often):,} values: {', '.join([*often[:SHOWN], *more])}", doubt


SHOWN = 3  # values of a column that are named
