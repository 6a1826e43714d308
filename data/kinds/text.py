"""Text as tokens: characters, bytes, words, or pieces of words; a list of words is taken as it is.

Encoded (L,): 0 is padding, 1 an unknown token, 2 the begin, 3 the end, then the vocabulary. Longer texts are cut. A
target ends with 3 where it fits, so that a model that writes knows when to stop. Beside it each text is encoded as its
words and pieces of words in no order, "NAME ngrams" (_ngrams.py), for models that count.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, decode_array, evenly_spaced_indices
from evergreen.data.field import TensorField
from evergreen.data.kinds import _tokenize as units
from evergreen.data.kinds._json import check_unicode, format_value
from evergreen.data.kinds._ngrams import encode_ngrams, fit_ngrams
from evergreen.data.kinds._written import Written, is_blank, texts_of
from evergreen.data.kinds.duplicates.minhash import join_words

PADDING, UNKNOWN, BEGIN, END = range(4)
SPECIAL = 4  # tokens before the vocabulary
LONGEST = 512  # tokens of a row, unless `length` says otherwise
GLANCED = 2_000  # texts that tell whether they are words
LEARNED = 10_000  # texts that tell the vocabulary and the length, spread evenly; all where they are no more
MAX_BUCKETS = 1 << 20  # for words and pieces of words
SENTENCE = 4  # words: a column whose typical text has fewer is taken as names, not as text
UNSEEN = "\ufffd"  # how an unknown token is written


class Text(Written):
    HAS_LENGTH = True
    TASK = "language_modelling"
    TASK_FROM_OWN_KIND = "translation"
    OWN_INPUT_OPTIONS: ClassVar[dict[str, Any]] = {"unit": "character"}
    VERSION = 3
    OPTIONS: ClassVar[dict[str, Any]] = {
        "unit": "",  # "": found from the texts
        "length": 0,  # tokens; 0: found from the texts
        "vocabulary": 8000,
        "ngrams": 8192,  # buckets for words and pieces of words; 0 leaves them out
    }
    OPTIONS_FOR_STEPS: ClassVar[dict[str, Any]] = {"ngrams": 0}

    def detect(self, column: pa.Array) -> float:
        column = decode_array(column)
        if _listed(column.type):  # unlike a set of labels, a list of words repeats some
            return 0.7 if any(len(set(row)) < len(row) for row in column.drop_null().to_pylist()) else 0.0
        if not pa.types.is_string(column.type):
            return 0.0
        texts_held = column.drop_null()
        some = texts_held.take(pa.array(evenly_spaced_indices(len(texts_held), GLANCED)))
        lettered = pc.sum(pc.match_substring_regex(some, r"\pL")).as_py() or 0
        if 2 * lettered <= len(some) or 2 * pc.count_distinct(texts_held).as_py() <= len(
            texts_held
        ):  # numbers, names and times
            return 0.0
        texts = some.to_pylist()
        words = [sum(word[0].isalpha() for word in units.WORD.findall(text)) for text in texts]
        long = sum(count >= SENTENCE for count in words) > len(texts) // 2
        return 0.6 if long else 0.0

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        if pa.types.is_string(column.type) or pa.types.is_null(column.type):
            return column.cast(pa.string()), {}
        if not _listed(column.type):
            return pa.nulls(len(column), pa.string()), dict.fromkeys(range(len(column)), "neither text nor words")
        column = column.cast(pa.list_(pa.string()))
        rows = enumerate(column.to_pylist())
        faults = {
            number: "holds no word, or an empty one" for number, row in rows if row is not None and not _is_words(row)
        }
        return column, faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        unit, length, vocabulary, buckets = ({**self.OPTIONS, **options}[name] for name in self.OPTIONS)
        if not 0 <= buckets <= MAX_BUCKETS:
            fix = f"use a number from 0 to {MAX_BUCKETS:,}"
            raise DataError(f"ngrams is {buckets}", place=f"preprocess.kinds.{name}", fix=fix)
        held = column.drop_null()
        texts = held.take(pa.array(evenly_spaced_indices(len(held), LEARNED))).to_pylist()
        listed = _listed(column.type)
        unit = _unit(unit, texts, listed, f"column '{name}'")
        values, longest = (
            units.most_common(texts, vocabulary, fewest=2)
            if listed
            else units.learn_vocabulary(unit, texts, vocabulary)
        )
        if not values:
            fix = "give more text"
            raise DataError("no token occurs twice in the training rows", place=f"column '{name}'", fix=fix)
        length = length or min(LONGEST, longest)
        state = {"values": [values], "sizes": [len(values) + SPECIAL], "unit": unit, "length": length, "listed": listed}
        state |= {"further": {"ngrams": fit_ngrams(texts, buckets)}} if buckets and not target else {}
        return TensorField("text", (name,), (length,), "int64", {**state, "target": target})

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        state, (length,) = field.state, field.shape
        values = tuple(state["values"][0])
        tokens, codes = _cutter(state["unit"], values, state["listed"]), _codes(values)
        rows = texts_of(columns[0])
        encoded = np.zeros((len(rows), length), np.int64)
        for number, text in enumerate(rows):
            row = [codes.get(token, UNKNOWN) for token in tokens(text)]
            row = [*row, END][:length] if state["target"] else row[:length]
            encoded[number, : len(row)] = row
        return encoded

    def encode_further(self, field: TensorField, columns: Sequence[pa.Array]) -> dict[str, np.ndarray]:
        """Return (N, G) the buckets of words and pieces of words."""
        states = field.state.get("further", {})  # earlier releases have none
        return {name: encode_ngrams(state, texts_of(columns[0])) for name, state in states.items()}

    def find_unusual(
        self, field: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray
    ) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield missing texts, and those of which no token occurred in training rows."""
        yield from super().find_unusual(field, columns, encoded)
        unknown = (encoded < SPECIAL).all(axis=1) & ~is_blank(columns[0])
        if unknown.any():
            yield 0, "read as a text without anything known", unknown

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        """Return the text up to its end; an unknown token is written �."""
        known, unit = field.state["values"][0], field.state["unit"]
        written = []
        for row in np.asarray(values).tolist():
            row = row[: row.index(END)] if END in row else row
            tokens = [
                known[code - SPECIAL] if code >= SPECIAL else UNSEEN for code in row if code not in (PADDING, BEGIN)
            ]
            written.append(tokens if field.state["listed"] else units.detokenize(unit, tokens))
        return written

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        if value is None or not field.state["listed"]:
            return super().from_json(field, index, value)
        if not isinstance(value, list) or not _is_words(value):
            raise DataError(f"is {format_value(value)}", fix="give a list of words, none empty")
        check_unicode("".join(value))
        return value

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        return pa.array(values, pa.list_(pa.string()) if field.state["listed"] else pa.string())

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        unit, length = field.state["unit"], field.shape[0]
        plural = {"bpe": "pieces of words"}.get(unit, f"{unit}s")
        example = [value for value in field.state["values"][0] if value.strip()][:8]
        about = {"description": f"the first {length} {plural} are read"}
        if field.state["listed"]:
            words = {"type": "string", "minLength": 1}
            return {"type": "array", "items": words, "minItems": 1, "nullable": True, "example": example, **about}
        text = {"type": "string", "minLength": 1, "nullable": True}
        return {**text, "example": units.detokenize(unit, example), **about}

    def to_scalars(self, column: pa.Array) -> pa.Array:
        return pa.array(map(join_words, column.to_pylist()), pa.string()) if pa.types.is_list(column.type) else column

    def hash_input(self, column: pa.Array) -> pa.Array | list[bytes]:
        if pa.types.is_string(column.type):
            return column
        return [b"" if row is None else json.dumps(row, ensure_ascii=False).encode() for row in column.to_pylist()]


def _listed(kind: pa.DataType) -> bool:
    """Tell whether a column of this type holds lists of words."""
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(listed and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)))


def _is_words(words: Iterable[Any]) -> bool:
    words = list(words)
    return bool(words) and all(isinstance(word, str) and word for word in words)


def _unit(unit: str, texts: Sequence[Any], listed: bool, place: str) -> str:
    """Return the unit asked for; else words, or characters where most texts have so few words that they are names."""
    if unit and unit not in units.UNITS:
        raise DataError(f"'{unit}' is not a unit of text", place=place, fix="use " + ", ".join(units.UNITS))
    if listed and unit not in ("", "word"):
        fix = "leave `unit` out, or give texts"
        raise DataError(f"lists of words cannot be split into {unit}s", place=place, fix=fix)
    if unit or listed:
        return unit or "word"
    some = texts[:: -(-len(texts) // GLANCED) or 1]
    long = sum(len(units.WORD.findall(text)) >= SENTENCE for text in some)
    return "word" if 2 * long > len(some) else "character"


@lru_cache(maxsize=8)
def _cutter(unit: str, values: tuple[str, ...], listed: bool) -> Callable[[Any], list[str]]:
    return list if listed else units.tokenizer(unit, values)


@lru_cache(maxsize=8)
def _codes(values: tuple[str, ...]) -> dict[str, int]:
    """Return token → number, cached, for an endpoint encodes row by row."""
    return {token: number for number, token in enumerate(values, SPECIAL)}
