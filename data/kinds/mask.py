"""Masks: the class of every pixel, as a target.

Matrices (H, W) of whole numbers, or image files of grey values, palette places or colors.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core import marks
from evergreen.core.errors import DataError
from evergreen.core.marks import Mark
from evergreen.core.png import mask_png
from evergreen.data.arrow import RowErrors, decode_array, is_ragged, stack_lists
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind, find
from evergreen.data.kinds import _images as pixels
from evergreen.data.kinds.image import LONGEST

MANY = 256  # classes: more are no classes but the shades of a drawing
IGNORED = -100  # a pixel that counts neither in the loss nor in the metrics


class Mask(Kind):
    """Files are brought to one size by taking the nearest pixel, chosen as that of images is."""

    SPATIAL = True
    TASK = "segmentation"
    OPTIONS: ClassVar[dict[str, Any]] = {"size": None, "ignore": None}  # [height, width]; value of unlabelled pixels

    def guess_target(self, name: str, column: pa.Array) -> tuple[float, str]:
        return find("image").detect(column) if "mask" in name.lower() else 0.0, ""

    def needs_all_rows(self, stored: pa.DataType) -> bool:
        return is_ragged(stored)

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        files = pixels.as_image_bytes(column)
        if files is not None:
            return files, pixels.image_errors(files)
        values, faults = stack_lists(column)
        if values.ndim != 3 or not values.size:
            return column, dict.fromkeys(range(len(column)), "not a mask (H, W)")
        broken = (values != np.trunc(values)).any(axis=(1, 2)) if values.dtype.kind == "f" else np.zeros(len(values))
        faults = {**{int(row): "holds fractions, which cannot be classes" for row in np.flatnonzero(broken)}, **faults}
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.nan_to_num(values).astype(np.int64)), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        place = f"column '{name}'"
        size = pixels.parse_size(options["size"], place) if options.get("size") is not None else _size(column)
        classes = set(np.unique(_masks(column, size)).tolist()) - {options.get("ignore")}
        if len(classes) < 2:
            fix = "give masks of two classes or more"
            raise DataError(f"the training masks hold only one class: {sorted(classes)}", place=place, fix=fix)
        if len(classes) > MANY:
            fix = "save masks without blurred edges (PNG, one value a class)"
            raise DataError(f"holds {len(classes)} different values, too many for classes", place=place, fix=fix)
        state = {"values": [sorted(classes)], "sizes": [len(classes)], "ignore": options.get("ignore"), "size": size}
        return TensorField("mask", (name,), tuple(size), "int64", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        values, known = _masks(columns[0], field.state["size"]), np.asarray(field.state["values"][0])
        codes = np.searchsorted(known, values).clip(0, len(known) - 1)
        strange = known[codes] != values
        if field.state["ignore"] is not None:
            codes[values == field.state["ignore"]] = IGNORED
            strange &= values != field.state["ignore"]
        if strange.any():
            problem = f"{values[strange][0]} is not a class of the training rows"
            fix = f"known: {', '.join(map(str, field.state['values'][0][:20]))}"
            raise DataError(problem, place=f"column '{field.columns[0]}'", fix=fix)
        return codes.astype(np.int64)

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        known = np.asarray(field.state["values"][0])
        lists: list[Any] = np.where(values < 0, field.state["ignore"] or 0, known[values.clip(0)]).tolist()
        return lists

    def measure(self, column: pa.Array) -> Counter[str]:
        """Count the classes of pixels."""
        binary = pa.types.is_binary(column.type)
        values = _masks(column.drop_null(), (32, 32)) if binary else stack_lists(column)[0].astype(np.int64)
        classes, counts = np.unique(values, return_counts=True)
        return Counter(dict(zip(map(str, classes.tolist()), counts.tolist(), strict=True)))

    def show_target(
        self, field: TensorField, columns: Sequence[pa.Array], over: Sequence[Any], predicted: Sequence[Any] = ()
    ) -> Sequence[Mark]:
        """Draw masks over the images that they belong to."""
        rows = zip(self.encode(field, columns).clip(-1), over, strict=True)
        return [marks.MaskedImage(image.png, mask_png(values), "actual mask") for values, image in rows]

    def hash_input(self, column: pa.Array) -> pa.Array | list[bytes]:
        if pa.types.is_binary(column.type):
            return column
        return [row.tobytes() for row in np.ascontiguousarray(stack_lists(column)[0], dtype="<i8")]


def _size(column: pa.Array) -> list[int]:
    if not pa.types.is_binary(column.type):
        return list(column.type.shape)
    height, width, _ = np.median([pixels.image_shape(data.as_py()) for data in column], axis=0)
    share = min(1.0, LONGEST / max(height, width))
    return [max(1, round(height * share)), max(1, round(width * share))]


def _masks(column: pa.Array, size: Sequence[int]) -> np.ndarray:
    """Return (N, H, W) int64 of checked masks."""
    if pa.types.is_binary(column.type):
        return np.stack([pixels.decode_labels(data.as_py(), size) for data in column])
    values, _ = stack_lists(column)
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, values.shape[1:], strict=True))
    return values.astype(np.int64)[:, rows][:, :, columns]
