"""Seeds: whole numbers that choose the sample to draw. A request that leaves its seed out gets a random one."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, decode_array, to_numpy
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds._json import format_value

LIMIT = 2**31  # seeds are below it


class Seed(Kind):
    ARROW_TYPE = pa.int64()

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        if not pa.types.is_integer(column.type):
            return pa.nulls(len(column), pa.int64()), dict.fromkeys(range(len(column)), "not a whole number")
        values = column.cast(pa.int64(), safe=False)
        seeds = to_numpy(values.fill_null(0))
        wrong = np.flatnonzero((seeds < 0) | (seeds >= LIMIT))
        return values, dict.fromkeys(wrong.tolist(), f"not a whole number from 0 to {LIMIT - 1}")

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        (name,) = columns
        if target:
            raise DataError("a seed cannot be a target", place=f"column '{name}'", fix="choose another target")
        return TensorField("seed", (name,), (), "int64", {})

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        return to_numpy(columns[0]).astype(np.int64)

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        seeds: list[int] = values.tolist()
        return seeds

    def generate(self, origins: Sequence[str]) -> pa.Array:
        words = [hashlib.blake2b(origin.encode(), digest_size=8).digest() for origin in origins]
        return pa.array([int.from_bytes(word, "little") % LIMIT for word in words], pa.int64())

    def request_default(self) -> int:
        return int(np.random.default_rng().integers(LIMIT))

    def from_json(self, field: TensorField, index: int, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LIMIT:
            fix = f"give a whole number from 0 to {LIMIT - 1}, or leave it out"
            raise DataError(f"is not a seed (got {format_value(value)})", fix=fix)
        return value

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        text = "which sample to draw: the same seed gives the same sample; left out, it is drawn by lot"
        return {"type": "integer", "minimum": 0, "maximum": LIMIT - 1, "description": text, "example": 7}

    def hash_input(self, column: pa.Array) -> list[bytes]:
        """Return nothing: a row's id does not depend on the sample that is drawn for it."""
        return [b""] * len(column)
