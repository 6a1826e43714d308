"""Images, standardised per channel: a column of matrices (H, W) or (H, W, C) becomes tensors (C, H, W)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from data.columns import Faults, nested, plain, stack
from data.field import DataError, Field
from data.kinds import Kind
from data.requests import numbers

EXAMPLE = 4096  # values: a larger picture is not written out in the documentation of an endpoint


class Image(Kind):
    def recognise(self, column: pa.Array) -> float:
        return 1.0 if nested(plain(column).type) in (2, 3) else 0.0

    def check(self, column: pa.Array) -> tuple[pa.Array, Faults]:
        values, faults = stack(plain(column))
        if values.ndim not in (3, 4) or not values.size:
            return column, dict.fromkeys(range(len(column)), "not an image (H, W) or (H, W, C)")
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values)), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False) -> Field:
        ((name, column),) = columns.items()
        values, _ = stack(column)
        channels = _channels_first(values)  # (N, C, H, W)
        std = channels.std(axis=(0, 2, 3), dtype=np.float64)
        state: dict[str, Any] = {
            "pixels": list(values.shape[1:]),
            "mean": channels.mean(axis=(0, 2, 3), dtype=np.float64).tolist(),
            "std": np.where(std > 0, std, 1.0).tolist(),
        }
        if values[0].size <= EXAMPLE:
            state["median"] = np.median(values, axis=0).tolist()
        return Field("image", (name,), channels.shape[1:], "float32", state)

    def encode(self, field: Field, columns: Sequence[pa.Array]) -> np.ndarray:
        values, _ = stack(columns[0])
        if list(values.shape[1:]) != field.state["pixels"]:
            raise DataError(
                f"holds images of shape {values.shape[1:]} where {tuple(field.state['pixels'])} belongs",
                place=f"column '{field.columns[0]}'",
                fix="resize them as the training images were",
            )
        mean, std = (np.asarray(field.state[name], np.float32)[:, None, None] for name in ("mean", "std"))
        return np.ascontiguousarray((_channels_first(values).astype(np.float32) - mean) / std)

    def decode(self, field: Field, values: np.ndarray) -> list[Any]:
        mean, std = (np.asarray(field.state[name])[:, None, None] for name in ("mean", "std"))
        images = np.moveaxis(values * std + mean, 1, -1)
        result: list[Any] = images.reshape(len(values), *field.state["pixels"]).tolist()
        return result

    def parse(self, field: Field, index: int, value: Any) -> Any:
        return numbers(value, tuple(field.state["pixels"]))

    def arrow(self, field: Field, values: list[Any]) -> pa.Array:
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(values))

    def json_schema(self, field: Field, index: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "number"}
        for length in reversed(field.state["pixels"]):
            schema = {"type": "array", "items": schema, "minItems": length, "maxItems": length}
        return schema | ({"example": field.state["median"]} if "median" in field.state else {})

    def identity(self, column: pa.Array) -> list[bytes]:
        return [row.tobytes() for row in np.ascontiguousarray(stack(column)[0] + 0.0, dtype="<f8")]

    def augment(self, field: Field, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Each image moved by up to an eighth of its side; its own darkest value comes in at the rim."""
        height, width = values.shape[2:]
        far = max(1, min(height, width) // 8)
        padded = np.empty((*values.shape[:2], height + 2 * far, width + 2 * far), values.dtype)
        padded[:] = values.min(axis=(2, 3), keepdims=True)
        padded[:, :, far : far + height, far : far + width] = values
        moves = random.integers(0, 2 * far + 1, size=(len(values), 2))
        down = moves[:, 0, None] + np.arange(height)  # (N, H)
        right = moves[:, 1, None] + np.arange(width)  # (N, W)
        rows = np.arange(len(values))[:, None, None]
        moved = padded.transpose(0, 2, 3, 1)[rows, down[:, :, None], right[:, None, :]]  # (N, H, W, C)
        return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))


def _channels_first(values: np.ndarray) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) as (N, C, H, W)."""
    return values[:, None] if values.ndim == 3 else values.transpose(0, 3, 1, 2)
