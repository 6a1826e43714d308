"""Categories: text, booleans or whole numbers taken as names. As a target: the class.

An input's slot 0 is for values unseen in training. Values seen only once in training share it: so it is learned too.
Of very many values the commonest have a slot each; the others share slot 0, or `buckets` of them by their hash. A
missing value has a slot where training rows lacked some; else it shares slot 0, or is taken as the commonest value
where slot 0 was not learned.
The state of a target holds how many training rows each class has (`counts`): what balanced weights are made of.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, find_nearest, suggest
from evergreen.data.arrow import (
    RowErrors,
    decode_array,
    holds_codes,
    is_mostly_numbers,
    joint_codes,
    to_numpy,
    to_strings,
)
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds._json import format_value
from evergreen.data.kinds.classes import class_checks as checks
from evergreen.data.kinds.classes import class_counts, spelling
from evergreen.data.kinds.classes.vocabulary import (
    bucket_of,
    canonical_case,
    known_values,
    known_words,
    typed_value,
    words_type,
)

MANY = 1000  # distinct values above which a text column is no category
WORDS = {"string": "text", "integer": "a whole number", "boolean": "true or false"}


class Category(Kind):
    VERSION = 4
    grouped = True
    HAS_CLASSES = True
    SCALAR = True
    TASK = "classification"
    ACCEPTS_DICTIONARY = True
    ALLOWS_MISSING = True
    OPTIONS: ClassVar[dict[str, Any]] = {
        "most": 10_000,  # values of an input that have a slot of their own, the commonest
        "buckets": 0,  # slots that all other values share by their hash, unseen ones too; 0: one slot for all
        "spelling": spelling.EXACT,  # or fold: values that differ in capitals alone are one, in lower case
        "missing_words": [*spelling.MISSING_WORDS],  # words that say that nothing is known; [] keeps them as values
    }

    def __init__(self, reading: spelling.Reading = spelling.DEFAULT) -> None:
        self.reading = reading

    def infer_options(self, column: pa.Array, options: Mapping[str, Any]) -> dict[str, Any]:
        return spelling.infer_reading(column, options)

    def with_options(self, options: Mapping[str, Any]) -> Self:
        return type(self)(spelling.Reading.from_options(options))

    def detect(self, column: pa.Array) -> float:
        column = decode_array(column)
        if pa.types.is_boolean(column.type):
            return 0.5
        if pa.types.is_integer(column.type):
            return 0.1
        if not pa.types.is_string(column.type):
            return 0.0
        text = self.reading.words(column).drop_null()
        distinct, most = pc.count_distinct(text).as_py(), max(10, len(text) // 2)
        return 0.5 if 0 < distinct <= (most if holds_codes(column) else min(MANY, most)) else 0.0

    def guess_target(self, name: str, column: pa.Array) -> tuple[float, str]:
        """Take a few whole numbers as classes, and any column that no other kind takes."""
        if not is_mostly_numbers(column) or holds_codes(decode_array(column)):
            return max(self.detect(column), 0.01), ""
        return checks.guess_classes(column)

    def advise_target(self, name: str, column: pa.Array) -> list[str]:
        return checks.advise_classes(name, self.reading.words(column))

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        try:
            return self.reading.words(column), {}
        except DataError as error:
            return pa.nulls(len(column), pa.string()), dict.fromkeys(range(len(column)), error.problem)

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        types = [words_type(column) for column in columns.values()]
        most, buckets = ([*options.get(name, [self.OPTIONS[name]] * len(types))] for name in ("most", "buckets"))
        checks.check_category_options(list(columns), most, buckets, target)
        values = [
            known_values(column, kind, fewest=1 if target else 2, most=len(column) if target else cap)
            for column, kind, cap in zip(columns.values(), types, most, strict=True)
        ]
        if target and len(values[0]) < 2:
            problem, place = f"the training rows hold only one class: {values[0]}", f"column '{next(iter(columns))}'"
            raise DataError(problem, place=place, fix="collect rows of a second class, or choose another target")
        missing = [column.null_count > 0 for column in columns.values()]
        state: dict[str, Any] = {"values": values, "types": types, "missing": missing}
        for name in ("spelling", "missing_words"):
            state[name] = options.get(name, [self.OPTIONS[name]] * len(types))
        if not target:
            parts = zip(columns.values(), types, values, strict=True)
            rest = [
                class_counts.commonest_and_rest(canonical_case(column, kind), known_words(tuple(known), kind))
                for column, kind, known in parts
            ]
            state |= {"commonest": [place for place, _ in rest], "rare": [count for _, count in rest]}
        if any(buckets):
            state |= {"buckets": buckets}
            state["sizes"] = [len(known) + 1 + spare for known, spare in zip(values, buckets, strict=True)]
        field = TensorField("category", tuple(columns), () if target else (len(columns),), "int64", state)
        if target:
            state["counts"] = [np.bincount(self.encode(field, list(columns.values()))).tolist()]
        return field

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        codes = [self._codes(field, index, column) for index, column in enumerate(columns)]
        return np.stack(codes, axis=1).reshape(len(codes[0]), *field.shape)

    def _codes(self, field: TensorField, index: int, column: pa.Array) -> np.ndarray:
        values, kind = field.state["values"][index], field.state["types"][index]
        coded = pa.types.is_dictionary(column.type)
        text = pa.concat_arrays([column.dictionary, pa.nulls(1, pa.string())]) if coded else column
        text = canonical_case(text, kind)
        places = pc.index_in(text, known_words(tuple(values), kind)).fill_null(-1)
        codes = to_numpy(places).astype(np.int64)
        codes = self._hashed(field, index, text, codes + 1) if field.shape else codes
        if field.shape and text.null_count and not field.state["missing"][index]:
            codes[to_numpy(text.is_null())] = class_counts.code_of_missing(field.state, index)
        if coded:
            codes = codes[to_numpy(column.indices.fill_null(len(text) - 1))]
        if not field.shape and (codes < 0).any():
            unseen = column[int(np.argmin(codes))].as_py()
            problem, place = f"'{unseen}' is not a class of the training rows", f"column '{field.columns[index]}'"
            raise DataError(problem, place=place, fix=suggest(str(unseen), [str(value) for value in values]))
        return codes

    def _hashed(self, field: TensorField, index: int, text: pa.Array, codes: np.ndarray) -> np.ndarray:
        """Return codes with values that have no slot of their own in the buckets, which follow the known values."""
        buckets = field.state.get("buckets", [0] * (index + 1))[index]
        other = (codes == 0) & to_numpy(text.is_valid())
        if buckets and other.any():
            words = text.filter(pa.array(other)).dictionary_encode()
            places = np.array([bucket_of(word, buckets) for word in words.dictionary.to_pylist()])
            codes[other] = 1 + len(field.state["values"][index]) + places[to_numpy(words.indices)]
        return codes

    def find_unusual(
        self, field: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray
    ) -> Iterator[tuple[int, str, np.ndarray]]:
        return class_counts.find_unusual(field.state, columns, encoded)

    def suggest_value(self, field: TensorField, index: int, value: str) -> str:
        return find_nearest(value, (known for known in field.state["values"][index] if isinstance(known, str)))

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        if not field.shape:
            return [field.state["values"][0][code] for code in values]
        known = field.state["values"]
        return [
            [known[place][code - 1] if 0 < code <= len(known[place]) else None for place, code in enumerate(row)]
            for row in values
        ]

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        kind = field.state["types"][index]
        if value is None:
            return None
        word = checks.parse_name(value, kind, known_words(tuple(field.state["values"][index]), kind))
        if word is None:
            raise DataError(f"is not {WORDS[kind]} (got {format_value(value)})", fix=f"give {WORDS[kind]}")
        return word

    def to_json(self, field: TensorField, index: int, value: pa.Scalar) -> Any:
        word, kind = value.as_py(), field.state["types"][index]
        try:
            return None if word is None else typed_value(word, kind)
        except ValueError:  # a word where training rows held whole numbers alone
            return word

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        return self.reading.words(pa.array(values, pa.string()))

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        known = field.state["values"][index]
        values = [value for value in known if value is not None]
        kind = field.state["types"][index]
        return {
            "type": kind,
            "example": values[0] if values else {"string": "", "integer": 0, "boolean": False}[kind],
            "description": "one of " + ", ".join(str(value) for value in values[:20]) + "; another is taken as unseen",
            "nullable": True,
        }

    def measure(self, column: pa.Array) -> Counter[str]:
        return Counter(to_strings(column).drop_null().to_pylist())

    def note_detection(self, name: str, column: pa.Array) -> list[str]:
        return checks.note_mixed_column(name, column)

    def suggest_options(self, name: str, column: pa.Array) -> tuple[dict[str, Any], str]:
        return spelling.suggest_options(name, column)

    def doubt_values(self, name: str, column: pa.Array, options: Mapping[str, Any], *, target: bool) -> list[str]:
        return spelling.doubt_values(name, column, options, target=target)

    def describe_values(self, column: pa.Array) -> tuple[str, str]:
        return class_counts.describe_words(self.reading.words(decode_array(column)), min_distinct=20)

    def check_target(self, column: pa.Array, place: str) -> None:
        checks.check_class_target(self.reading.words(decode_array(column)), place)

    def profile(self, column: pa.Array) -> dict[str, Any]:
        return {"values": class_counts.count_values(column)}

    def to_scalars(self, column: pa.Array) -> pa.Array:
        return column

    def drift_features(self, one: pa.Array, two: pa.Array) -> np.ndarray:
        return class_counts.frequency_ranks(one, two)

    def describe_drift(self, one: pa.Array, two: pa.Array, names: tuple[str, str]) -> str:
        return class_counts.most_changed_value(one, two, names)

    def assign_bins(self, train: pa.Array, held_out: pa.Array) -> tuple[np.ndarray, int]:
        codes = joint_codes(train, held_out)
        return codes, int(codes.max()) + 1

    def target_scores(self, train: pa.Array, held_out: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        return class_counts.one_hot(train, held_out)
