"""Describe what a model takes and returns, and encode rows the same way in training, validation and serving."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.core.files import read_json
from evergreen.data import kinds
from evergreen.data.arrow import RowErrors, decode_array, to_numpy
from evergreen.data.decode_limits import spend
from evergreen.data.field import TensorField
from evergreen.data.fitting import take_column
from evergreen.data.kinds._json import check_fields
from evergreen.data.kinds._transform import apply_transform
from evergreen.data.unusual_values import UnusualValues

MAX_SHOWN = 40  # characters of a value that is told


@dataclass(frozen=True)
class FeatureSpec:
    """Describe inputs and target. It is fitted on the training split alone, and stored as JSON."""

    task: str
    inputs: dict[str, TensorField]  # keyed by the kind's name for grouped kinds, by the column's otherwise
    target: TensorField
    target_name: str
    time: str | None
    rows: dict[str, int]  # split → rows
    task_options: dict[str, Any] = dataclasses.field(default_factory=dict)  # the task's options

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that a row must have for a prediction."""
        return tuple(column for field in self.inputs.values() for column in field.columns)

    def encode(
        self, table: pa.Table, *, target: bool, unusual: UnusualValues | None = None, is_valid: bool = False
    ) -> dict[str, np.ndarray]:
        """Return {field: (N, *shape)}, with "target" if asked for, and further tensors; other columns are ignored.

        What training rows did not have is counted in `unusual`. With `is_valid` the table is what `validate_table`
        returned without errors, and is not looked at again. Raises DataError naming the column, and the row, that
        cannot be encoded.
        """
        fields = {**self.inputs, "target": self.target} if target else self.inputs
        encoded: dict[str, np.ndarray] = {}
        for key, field in fields.items():
            encoded |= _encode(key, field, table, unusual, is_valid=is_valid)
        if unusual is not None:
            unusual.add_rows(table.num_rows)
        return encoded

    def validate_table(self, table: pa.Table) -> tuple[pa.Table, RowErrors]:
        """Return the input columns of a file in their kinds' types, and row → what is wrong."""
        for name in [name for name in self._defaults() if name not in table.column_names]:
            table = table.append_column(name, pa.array([self._defaults()[name] for _ in range(len(table))]))
        errors: RowErrors = {}
        typed: dict[str, pa.Array] = {}
        for field in self.inputs.values():
            for index, name in enumerate(field.columns):
                kind, column = kinds.kind_of(field, index), take_column(table, name)
                typed[name], faults = kind.validate(column)
                faults = {row: f"{reason}{_got(column[row])}" for row, reason in faults.items()}
                if typed[name].null_count and not (kind.ALLOWS_MISSING or kind.FILLS_MISSING):
                    lacking = np.flatnonzero(to_numpy(typed[name].is_null()))
                    faults = {**dict.fromkeys(lacking.tolist(), "missing"), **faults}
                for row, reason in faults.items():
                    errors[row] = f"{errors[row]}; {name}: {reason}" if row in errors else f"{name}: {reason}"
        return pa.table(typed), errors

    def augment(self, batch: Mapping[str, np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
        """Return a training batch with each input varied by its kind, unless the target lies over the image."""
        if kinds.kind_of(self.target).SPATIAL:
            return dict(batch)
        varied = {key: kinds.kind_of(field).augment(field, batch[key], random) for key, field in self.inputs.items()}
        return {**batch, **varied}

    def parse_request(
        self, rows: Sequence[Mapping[str, Any]], place: str, unusual: UnusualValues | None = None, first_row: int = 0
    ) -> pa.Table:
        """Parse the rows of a JSON request, or of a part of it; other fields are ignored, and counted in `unusual`.

        Raises DataError naming the row, the field and the fix.
        """
        if not isinstance(rows, list) or not rows:
            raise DataError("there are no rows", place=place, fix="send a list of one row or more")
        columns, defaults = dict.fromkeys(self.columns), self._defaults()
        rows = [{**defaults, **row} if isinstance(row, dict) else row for row in rows]
        for number, row in enumerate(rows, first_row):
            extra = check_fields(row, columns, f"{place}, row {number}")
            if extra and unusual is not None:
                unusual.ignore(extra)
        typed: dict[str, pa.Array] = {}
        for field in self.inputs.values():
            for index, name in enumerate(field.columns):
                kind, values = kinds.kind_of(field, index), []
                spend()  # the time so far
                for number, row in enumerate(rows, first_row):
                    try:
                        values.append(kind.from_json(field, index, row[name]))
                    except DataError as error:
                        raise DataError(
                            error.problem, place=f"{place}, row {number}, field '{name}'", fix=error.fix
                        ) from error
                typed[name] = kind.to_arrow(field, values)
        return pa.table(typed)

    def example_request(self, table: pa.Table) -> dict[str, Any]:
        """Return the first valid row of a table as a request has it: what `parse_request` parses."""
        read, faults = self.validate_table(table)
        row = next((row for row in range(len(read)) if row not in faults), 0)
        return {
            name: kinds.kind_of(field).to_json(field, index, read.column(name)[row])
            for field in self.inputs.values()
            for index, name in enumerate(field.columns)
        }

    def json_schema(self) -> dict[str, Any]:
        """Return the OpenAPI schema of a request row, with an `example` of typical values."""
        properties = {
            name: kinds.kind_of(field).json_schema(field, index)
            for field in self.inputs.values()
            for index, name in enumerate(field.columns)
        }
        example = {name: schema["example"] for name, schema in properties.items() if "example" in schema}
        schema = {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name not in self._defaults()],
            "additionalProperties": True,
        }
        return schema | ({"example": example} if len(example) == len(properties) else {})

    def _defaults(self) -> dict[str, Any]:
        """Return column → value, for columns that a request may leave out."""
        fields = [field for field in self.inputs.values() if not kinds.kind_of(field).grouped]
        defaults = {field.columns[0]: kinds.kind_of(field).request_default() for field in fields}
        return {name: value for name, value in defaults.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the spec as spec.json and model.json store it."""
        inputs = {key: field.to_json() for key, field in self.inputs.items()}
        return {**vars(self), "inputs": inputs, "target": self.target.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the spec that `to_json` stored."""
        inputs = {key: TensorField.from_json(one) for key, one in value["inputs"].items()}
        same = {name: value[name] for name in ("task", "target_name", "time", "rows")}
        options = value.get("task_options", {})  # releases of before there were any lack it
        if not (isinstance(same["target_name"], str) and isinstance(same["rows"], dict) and isinstance(options, dict)):
            raise TypeError("a spec is no spec")
        return cls(inputs=inputs, target=TensorField.from_json(value["target"]), task_options=options, **same)

    def save(self, folder: Path) -> None:
        """Write spec.json into a folder."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "spec.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read spec.json from a folder. Raises DataError where there is none."""
        path = folder / "spec.json"
        if not path.is_file():
            raise DataError("there is no prepared data", place=str(folder), fix="run the stage `preprocess`")
        try:
            return cls.from_json(read_json(path, "inputs", "target"))
        except (LookupError, TypeError, AttributeError) as error:
            fix = "run the stage `preprocess` again"
            raise DataError(f"not a spec ({error!r})", place=str(path), fix=fix) from error


def _encode(
    key: str, field: TensorField, table: pa.Table, unusual: UnusualValues | None, *, is_valid: bool
) -> dict[str, np.ndarray]:
    columns = []
    for index, name in enumerate(field.columns):
        kind, column = kinds.kind_of(field, index), take_column(table, name)
        column, faults = (column, {}) if is_valid else kind.validate_encoded(column)
        if faults:
            row, reason = min(faults.items())
            raise DataError(reason, place=f"row {row}, column '{name}'", fix="correct the value or leave the row out")
        column = column if kind.ACCEPTS_DICTIONARY else decode_array(column)
        columns.append(apply_transform(column, field.state.get("transform", ""), f"column '{name}'"))
    encoded = kind.encode(field, columns)
    if unusual is not None:
        unusual.add(field, columns, encoded)
    further = kinds.kind_of(field).encode_further(field, columns)
    return {key: encoded, **{f"{key} {name}": values for name, values in further.items()}}


def _got(value: pa.Scalar) -> str:
    """Return a plain value in words; nothing of one that is missing, or that a line cannot hold."""
    plain = pa.types.is_string(value.type) or pa.types.is_primitive(value.type)
    return f" (got {str(value)[:MAX_SHOWN]!r})" if value.is_valid and plain else ""
