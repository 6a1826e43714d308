"""Read words as values: which say that nothing is known, and which are one value spelt in several ways.

3.0 is 3. Blanks around and between words, signs without width, and Unicode's two ways to write é never make another
value. Capitals do, unless a column is folded: then all its values are in lower case.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest
from evergreen.data.arrow import MISSING, decode_array, to_names

EXACT, FOLD = SPELLINGS = ("exact", "fold")
MISSING_WORDS = tuple(word for word in MISSING if word)
BLANKS, NO_WIDTH = r"[\s\p{Z}]+", "[\u00ad\u200b\u200e\u200f\u2060\ufeff]"
CAPITALISED = {"nan": "NaN", "null": "Null", "none": "None"}  # beside "na" and "NA"; but Na is sodium
COMMON = 0.05  # of the values: from here on "none" is a value like others
SHOWN = 4  # spellings that are named
KEEP_APART = "`spelling: exact` keeps them apart"
FOLDED, KEPT = "`kinds: {%s: {kind: category, spelling: fold}}`", "`kinds: {%s: {kind: category, missing_words: []}}`"


class Reading(NamedTuple):
    """Say how words are read; `spelling` "" is how models of before there were any read them."""

    spelling: str = EXACT
    missing_words: Sequence[str] = MISSING_WORDS

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Return how a column of these options, or of this state, is read."""
        return cls(str(options.get("spelling", "")), options.get("missing_words", ()))

    def words(self, column: pa.Array) -> pa.Array:
        """Return a raw column as words, null where missing. Raises DataError for types without a text."""
        if not self.spelling or not pa.types.is_string(column.type):
            return to_names(column)
        coded = column.dictionary_encode()  # each distinct text is read once
        return self._distinct_words(to_names(coded.dictionary)).take(coded.indices)

    def _distinct_words(self, text: pa.Array) -> pa.Array:
        if not pc.all(pc.string_is_ascii(text), min_count=0).as_py():
            text = pc.utf8_normalize(pc.replace_substring_regex(text, NO_WIDTH, ""), "NFC")
            text = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, BLANKS, " "))
        elif any(pc.any(pc.match_substring(text, sign), min_count=0).as_py() for sign in ("  ", "\t", "\n")):
            text = pc.replace_substring_regex(text, BLANKS, " ")
        capitalised = {CAPITALISED.get(word.lower(), word) for word in self.missing_words}
        said = {spelt for word in self.missing_words for spelt in (word, word.lower(), word.upper())} | capitalised
        text = pc.if_else(pc.is_in(text, pa.array(["", *sorted(said)])), pa.scalar(None, pa.string()), text)
        if self.spelling == FOLD:
            text = pc.utf8_normalize(pc.utf8_lower(pc.utf8_normalize(text, "NFKC")), "NFC")
        return text


DEFAULT = Reading()


def infer_reading(column: pa.Array, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a raw column, completed; a "none" that is common in it is a value. Raises DataError."""
    spelling = options.get("spelling", EXACT)
    if spelling not in SPELLINGS:
        raise DataError(f"{spelling!r} is not a spelling", fix=suggest(str(spelling), SPELLINGS))
    words = options.get("missing_words")
    if words is None:
        words, column = [*MISSING_WORDS], decode_array(column)
        if pa.types.is_string(column.type) and len(column):
            held = Reading(FOLD, ()).words(column).drop_null()
            if (pc.sum(pc.equal(held, "none")).as_py() or 0) >= max(1, COMMON * len(held)):
                words.remove("none")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"missing_words is {words!r}", fix='give a list of words in quotes: missing_words: ["NA"]')
    return {**options, "spelling": spelling, "missing_words": words}


class Spellings(NamedTuple):
    """Say in which ways the values of a raw column are spelt."""

    shown: str  # some spellings of the value that has the most, the commonest first; "" where none has two
    differs_in_capitals: bool  # so that folding makes fewer values, but two at least
    missing: list[str]  # the words in it that say that nothing is known


def find_spellings(column: pa.Array, missing_words: Sequence[str]) -> Spellings:
    """Return in which ways the values of a raw column are spelt."""
    if not pa.types.is_string(column.type):
        return Spellings("", False, [])
    counts = pc.value_counts(column.drop_null())
    counts = counts.take(pc.array_sort_indices(counts.field("counts"), order="descending"))
    exact, folded = (Reading(one, missing_words).words(counts.field("values")).to_pylist() for one in SPELLINGS)
    spellings: dict[str, list[str]] = {}
    values: dict[str, set[str]] = {}
    missing: dict[str, None] = {}
    for written, value, key in zip(counts.field("values").to_pylist(), exact, folded, strict=True):
        if value is None:
            missing |= {written.strip(): None} if written.strip() else {}
            continue
        spellings.setdefault(key, []).append(f"'{written}'")
        values.setdefault(key, set()).add(value)
    most = max(spellings.values(), key=len, default=[])
    differs = len(values) > 1 and any(len(same) > 1 for same in values.values())
    return Spellings(", ".join(most[:SHOWN]) if len(most) > 1 else "", differs, [*missing])


def suggest_options(name: str, column: pa.Array) -> tuple[dict[str, Any], str]:
    """Return (the options that fold the spellings of a raw column's values, what that does)."""
    found = find_spellings(column, infer_reading(column, {})["missing_words"])
    if found.differs_in_capitals:
        return {"spelling": FOLD}, f"'{name}': {found.shown} are one value ({KEEP_APART})"
    return {}, f"'{name}': {found.shown} are one value" if found.shown else ""


def doubt_values(name: str, column: pa.Array, options: Mapping[str, Any], *, target: bool) -> list[str]:
    """Return what is open about a raw column: values that differ in capitals alone, and words taken as missing."""
    found = find_spellings(column, infer_reading(column, options)["missing_words"])
    doubts = []
    if found.differs_in_capitals and "spelling" not in options:
        doubts.append(
            f"'{name}': {found.shown} differ in capitals alone; to make them one: {FOLDED % json.dumps(name)}"
        )
    if target and found.missing and "missing_words" not in options:
        words = ", ".join(found.missing)
        doubts.append(f"'{name}': {words} say that it is missing; to keep them as classes: {KEPT % json.dumps(name)}")
    return doubts
