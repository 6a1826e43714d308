"""Kinds of data: how a column is recognised, checked, fitted, encoded, decoded, read from a request and augmented.

One file is one kind and its name registers it: `data/kinds/number.py` holds the class `Number(Kind)`.
`grouped` kinds put all their columns into one tensor; the others make one tensor per column. A kind that is encoded AS
another needs no architecture that knows it: dates become numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core import parts
from evergreen.core.errors import DataError, suggest
from evergreen.core.marks import Mark
from evergreen.data.arrow import RowErrors
from evergreen.data.field import TensorField


class Kind:
    """The contract. State is fitted on the training split alone and is JSON, so that it travels inside the model."""

    VERSION: ClassVar[int] = 1  # raised when the same column gives another result
    grouped: ClassVar[bool] = False
    ENCODES_AS: ClassVar[str] = ""  # the kind that models take its tensors for, where that is another
    ACCEPTS_DICTIONARY: ClassVar[bool] = (
        False  # whether `encode` takes columns that are stored as a dictionary as they are
    )
    ALLOWS_MISSING: ClassVar[bool] = False  # whether it has a value for what is missing; else such rows are set aside
    MEASURE: ClassVar[str] = ""  # what `measure` gives of a value, where that is not the value itself
    OPTIONS: ClassVar[dict[str, Any]] = {}  # what a pipeline may say of a column of this kind, with the defaults

    def detect(self, column: pa.Array) -> float:
        """How well this kind suits the column, 0 (not at all) to 1 (surely); the highest of all kinds is taken."""
        raise NotImplementedError

    def infer_options(self, column: pa.Array, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a column, with what a look at its rows finds out of how values are written, so that every part
        of the column is read alike."""
        return dict(options)

    def with_options(self, options: Mapping[str, Any]) -> Kind:
        """This kind as it reads a column of these options, or of this state."""
        return self

    def needs_all_rows(self, stored: pa.DataType) -> bool:
        """Whether only all rows of a column so stored say together what is right for one: the commonest shape, say.
        Else `check`, with what `settle` found, reads any rows of it by themselves."""
        return False

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        """The column in this kind's own Arrow type (null where missing), and what is wrong with which row."""
        raise NotImplementedError

    def validate_encoded(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        """What `check` says of any column; of one that is stored as a dictionary by looking at each value once."""
        if not pa.types.is_dictionary(column.type) or self.needs_all_rows(column.type.value_type):
            return self.validate(column)
        values, wrong = self.validate(column.dictionary)
        faults: RowErrors = {}
        if wrong:
            places = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            rows = np.flatnonzero(np.isin(places, list(wrong)))
            faults = {int(row): wrong[int(places[row])] for row in rows}
        if not pa.types.is_string(values.type):
            return values.take(column.indices), faults
        return pa.DictionaryArray.from_arrays(column.indices, values), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        """The field these checked training columns make; DataError where nothing can be learned from them. `options`
        are those of OPTIONS that the pipeline sets; of a grouped kind each is a list, a value for every column."""
        raise NotImplementedError

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        """(N, *field.shape) of field.dtype from checked columns."""
        raise NotImplementedError

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        """JSON values, in the data's own units, of an encoded array (N, *field.shape)."""
        raise NotImplementedError

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        """One JSON value of a request for column `index`; DataError (problem and fix, no place) if it is wrong."""
        raise NotImplementedError

    def generate(self, origins: Sequence[str]) -> pa.Array:
        """A column for rows of these origins that have none, where a task needs one of this kind."""
        raise NotImplementedError

    def request_default(self) -> Any:
        """The JSON value of a row that does not say it; None where it has to be said."""
        return None

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        """Parsed values as a checked column."""
        raise NotImplementedError

    def to_json(self, field: TensorField, index: int, value: pa.Scalar) -> Any:
        """One value of a checked column as a request has it: what `parse` takes."""
        plain = value.to_numpy() if hasattr(value, "to_numpy") else value.as_py()  # a matrix, or anything else
        return plain.tolist() if hasattr(plain, "tolist") else plain

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        """OpenAPI schema of column `index` of the field, with an `example` that is no real row but a typical value."""
        raise NotImplementedError

    def hash_input(self, column: pa.Array) -> pa.Array | list[bytes]:
        """A checked column as numbers, texts or bytes that stay the same however the same value was stored."""
        raise NotImplementedError

    def measure(self, column: pa.Array) -> np.ndarray | Counter[str] | None:
        """Return numbers for a histogram of a checked column, or counts of words for bars; None where neither helps."""
        return None

    def format_measure(self, value: float) -> str:
        """Return one number that `measure` gave as a person writes it."""
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

    def show(self, field: TensorField, columns: Sequence[pa.Array]) -> Sequence[Mark | None]:
        """Return a mark for each row of checked columns; None where the value itself says enough."""
        return [None] * len(columns[0])

    def show_target(
        self, field: TensorField, columns: Sequence[pa.Array], over: Sequence[Any], predicted: Sequence[Any] = ()
    ) -> Sequence[Mark | None]:
        """Return a mark for each row of a target, drawn over its row's input, beside predictions in JSON if given."""
        return self.show(field, columns)

    def augment(self, field: TensorField, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A harmless variation of encoded training rows; by default none."""
        return values


def names() -> list[str]:
    """Return the names of all kinds: the files of this folder, and those of the project's `data/kinds/`."""
    return parts.names("kinds")


def find(name: str) -> Kind:
    """Return the kind of that name. Raises DataError with the nearest right word if there is none."""
    if not parts.is_known("kinds", name):
        raise DataError(f"there is no kind of data called '{name}'", fix=suggest(name, names()))
    return _instance(parts.find("kinds", name, Kind))  # type: ignore[arg-type]


@cache
def _instance(kind: Any) -> Kind:
    found: Kind = kind()
    return found


def check_options(kind: str, options: Mapping[str, Any], column: str) -> None:
    """Raises DataError for an option that the kind does not have."""
    for name in options:
        if name not in find(kind).OPTIONS:
            fix = suggest(name, find(kind).OPTIONS)
            raise DataError(f"{kind} has no option '{name}'", place=f"preprocess.kinds.{column}", fix=fix)


def kind_of(field: TensorField) -> Kind:
    """The kind that encodes a field, as its columns are written."""
    return find(field.encoder or field.kind).with_options(field.state)
