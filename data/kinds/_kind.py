"""The contract of a kind: everything that Evergreen does with a column, in one class."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from evergreen.core.marks import Mark
from evergreen.data.arrow import RowErrors, to_numpy
from evergreen.data.field import TensorField
from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate, join_features


class Kind:
    """Say how a column is read, encoded, profiled, compared and shown.

    State is fitted on the training split alone. It is JSON, so that it travels inside the model. "Checked" columns are
    those that `validate` returned, in this kind's own Arrow type.
    """

    VERSION: ClassVar[int] = 1  # raised when the same column gives another result
    ARROW_TYPE: ClassVar[pa.DataType]  # of its checked columns, where all are of one
    OPTIONS: ClassVar[dict[str, Any]] = {}  # what a pipeline may set for a column of this kind, with the defaults
    OPTIONS_FOR_STEPS: ClassVar[dict[str, Any]] = {}  # other defaults where the target has steps of its own
    grouped: ClassVar[bool] = False  # whether all columns of this kind make one tensor; else each makes its own
    ENCODES_AS: ClassVar[str] = ""  # the kind that models take its tensors for, where that is another
    ACCEPTS_DICTIONARY: ClassVar[bool] = False  # whether `encode` takes dictionary columns as they are
    ALLOWS_MISSING: ClassVar[bool] = False  # whether it encodes missing values; else such rows are quarantined
    FILLS_MISSING: ClassVar[bool] = False  # whether it encodes them in predictions, although such rows are quarantined
    MISSING_BECOMES: ClassVar[str] = ""  # how missing values are encoded, for the person who reads the notes
    MEASURE: ClassVar[str] = ""  # what `measure` gives of a value, where that is not the value itself
    COMPARES_AS: ClassVar[str] = ""  # the kind as which drift and leakage look at its columns (see `to_comparable`)
    RULE_TYPE: ClassVar[str] = ""  # the type in which rules read its columns, if the kind alone decides it
    GROUP_KIND: ClassVar[str] = ""  # of windows: the kind of the column that names a row's series
    HAS_CLASSES: ClassVar[bool] = False  # whether a target is one class a row, so that classes can be counted
    SCALAR: ClassVar[bool] = False  # whether a value is one number or one class
    TELLS_ROWS_APART: ClassVar[bool] = False  # whether a value identifies its row
    SPANS_ROWS: ClassVar[bool] = False  # whether a value is made of several raw rows: windows of a series overlap
    SPATIAL: ClassVar[bool] = False  # whether a target must move with its image when that is augmented
    STEPWISE: ClassVar[bool] = False  # whether networks read its tensors step by step, all rows of one length
    HAS_LENGTH: ClassVar[bool] = False  # whether rows differ in their number of steps, with zeros after their end
    ALIGNED: ClassVar[bool] = False  # whether a target has a value for each step of the input
    TASK: ClassVar[str] = ""  # the task that is suggested for a target of this kind; "": none, it is no target
    TASK_OVER_TIME: ClassVar[str] = ""  # the one where rows are evenly spaced in time
    TASK_FROM_OWN_KIND: ClassVar[str] = ""  # the one where an input is of this kind, too; without such an input the
    # target of TASK is its own input, with these options:
    OWN_INPUT_OPTIONS: ClassVar[dict[str, Any]] = {}

    def detect(self, column: pa.Array) -> float:
        """Return how well this kind suits a raw column, 0 to 1; the kind with the highest score is taken."""
        return 0.0

    def guess_target(self, name: str, column: pa.Array) -> tuple[float, str]:
        """Return (how well this kind suits a raw target column, 0 to 1; what speaks against it, in words)."""
        return self.detect(column) if self.TASK else 0.0, ""

    def advise_target(self, name: str, column: pa.Array) -> list[str]:
        """Return what is unusual about a raw target column of this kind, and which setting helps, in words."""
        return []

    def note_detection(self, name: str, column: pa.Array) -> list[str]:
        """Return what a person should know when this kind was detected for a column."""
        return []

    def suggest_options(self, name: str, column: pa.Array) -> tuple[dict[str, Any], str]:
        """Return (the options that a new pipeline should set for a raw column, why, in words)."""
        return {}, ""

    def doubt_values(self, name: str, column: pa.Array, options: Mapping[str, Any], *, target: bool) -> list[str]:
        """Return what a pipeline that sets these options for a raw column leaves open about its values, in words."""
        return []

    def describe_values(self, column: pa.Array) -> tuple[str, str]:
        """Return (what a raw column holds, what speaks against this kind), in words; "" where there is nothing."""
        return "", ""

    def infer_options(self, column: pa.Array, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a raw column, completed by how its values are written, so that all parts agree."""
        return dict(options)

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """Return the kind that reads a column with these options, or with the state of a field."""
        return self

    def needs_all_rows(self, stored: pa.DataType) -> bool:
        """Tell whether a column of this Arrow type can only be validated whole: its commonest shape is right, say."""
        return False

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        """Return a raw column in this kind's own Arrow type, null where missing, and row → what is wrong."""
        raise NotImplementedError

    def validate_encoded(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        """Validate any raw column; of a dictionary column each distinct value once."""
        if not pa.types.is_dictionary(column.type) or self.needs_all_rows(column.type.value_type):
            return self.validate(column)
        values, wrong = self.validate(column.dictionary)
        errors: RowErrors = {}
        if wrong:
            places = to_numpy(column.indices.fill_null(-1))
            rows = np.flatnonzero(np.isin(places, list(wrong)))
            errors = {int(row): wrong[int(places[row])] for row in rows}
        if not pa.types.is_string(values.type):
            return values.take(column.indices), errors
        return pa.DictionaryArray.from_arrays(column.indices, values), errors

    def check_target(self, column: pa.Array, place: str) -> None:
        """Raise DataError where a raw column cannot be a target of this kind."""

    def check_against_inputs(self, target: pa.Array, inputs: Mapping[str, tuple[str, pa.Array]]) -> list[RowErrors]:
        """Return errors of rows whose target contradicts an input; `inputs` is column → (kind, checked column)."""
        return []

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        """Return the field of checked training columns.

        Args:
            columns: Column → checked values; of a kind that is not `grouped` there is one.
            target: Whether the column is the target.
            options: Those of OPTIONS that the pipeline sets; of a grouped kind a list each, a value for every column.

        Raises:
            DataError: Where nothing can be learned from the columns.
        """
        raise NotImplementedError

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        """Return (N, *field.shape) of field.dtype from checked columns."""
        raise NotImplementedError

    def encode_further(self, field: TensorField, columns: Sequence[pa.Array]) -> dict[str, np.ndarray]:
        """Return what networks may read beside `encode`'s tensor, by the names in the state's "further"."""
        return {}

    def find_unusual(
        self, field: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray
    ) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield what training rows did not have: (place of the column, what its values are, in words; (N,) bool).

        The words follow "3 of 8 values were": "never seen", "missing and filled by the training median, 3". `columns`
        and `encoded` are what `encode` took and returned.
        """
        return iter(())

    def suggest_value(self, field: TensorField, index: int, value: str) -> str:
        """Return the value that is meant by an unseen one of column `index`; "" where none is near."""
        return ""

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        """Return JSON values, in the data's own units, of an encoded array (N, *field.shape)."""
        raise NotImplementedError

    def augment(self, field: TensorField, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return a harmless variation of encoded training rows; by default none."""
        return values

    def generate(self, origins: Sequence[str]) -> pa.Array:
        """Return a column for rows that have none, where a task needs one of this kind; `origins` name the rows."""
        raise NotImplementedError

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        """Parse a value of a request for column `index`. Raises DataError (problem and hint, no place)."""
        raise NotImplementedError

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        """Return values that `from_json` parsed as a checked column."""
        return pa.array(values, self.ARROW_TYPE)

    def to_json(self, field: TensorField, index: int, value: pa.Scalar) -> Any:
        """Return a value of a checked column as a request has it: what `from_json` parses."""
        plain = value.to_numpy() if hasattr(value, "to_numpy") else value.as_py()  # a matrix, or anything else
        return plain.tolist() if hasattr(plain, "tolist") else plain

    def request_default(self) -> Any:
        """Return the JSON value of a request that leaves the column out; None where it must not."""
        return None

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        """Return the OpenAPI schema of column `index`, with a typical value as `example`, never a real row's."""
        raise NotImplementedError

    def hash_input(self, column: pa.Array) -> pa.Array | list[bytes]:
        """Return a checked column as numbers, texts or bytes that are equal however the same value was stored."""
        return column

    def profile(self, column: pa.Array) -> dict[str, Any]:
        """Return what a checked column holds: `low` and `high` of numbers, `values` (value → rows) of categories."""
        return {}

    def measure(self, column: pa.Array) -> np.ndarray | Counter[str] | None:
        """Return numbers for a histogram of a checked column, or counts of words for bars; None where neither helps."""
        return None

    def format_measure(self, value: float) -> str:
        """Return one number that `measure` gave as a person writes it."""
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

    def show(self, field: TensorField, columns: Sequence[pa.Array]) -> Sequence[Mark | None]:
        """Return a mark for each row of checked columns; None where the value itself is shown."""
        return [None] * len(columns[0])

    def show_target(
        self, field: TensorField, columns: Sequence[pa.Array], over: Sequence[Any], predicted: Sequence[Any] = ()
    ) -> Sequence[Mark | None]:
        """Return a mark for each row of a target, drawn over its row's input, beside predictions in JSON if given."""
        return self.show(field, columns)

    def to_comparable(self, column: pa.Array) -> pa.Array:
        """Return a checked column as one of the kind COMPARES_AS."""
        return column

    def to_scalars(self, column: pa.Array) -> np.ndarray | pa.Array | None:
        """Return a checked column as (N,) float64, to compare within rounding, or as exact texts; else None."""
        return None

    def find_near_duplicates(self, column: pa.Array, other: pa.Array) -> list[NearDuplicate] | None:
        """Match rows of two checked columns that are nearly equal; None where the values cannot tell rows apart."""
        return None

    def drift_features(self, one: pa.Array, two: pa.Array) -> np.ndarray:
        """Return (N + M, F) numbers by which a classifier tells two checked columns apart; F is 0 if there are none."""
        return join_features(self.row_features(one), self.row_features(two))

    def row_features(self, column: pa.Array) -> np.ndarray:
        """Return (N, F) numbers that say what is in each row of a checked column, to look for drift."""
        return np.zeros((len(column), 0))

    def describe_drift(self, one: pa.Array, two: pa.Array, names: tuple[str, str]) -> str:
        """Return how a checked column differs between two tables of these names; "" where words do not tell."""
        return ""

    def assign_bins(self, train: pa.Array, held_out: pa.Array) -> tuple[np.ndarray, int] | None:
        """Return ((N + M,) bin of each value, number of bins) for the leak check; None where values have no bins."""
        return None

    def target_scores(self, train: pa.Array, held_out: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (N, K), (M, K) a target as classes, or as ranks (K = 1); None where leaks cannot be looked for."""
        return None
