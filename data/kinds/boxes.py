"""Boxes around the things on an image, as a target: lists of {class, x0, y0, x1, y1}, or their JSON text."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core import marks
from evergreen.core.errors import DataError
from evergreen.core.marks import Mark
from evergreen.data.arrow import RowErrors, decode_array
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds import _images as pixels

CORNERS = ("x0", "y0", "x1", "y1")
TYPE = pa.list_(pa.struct([("class", pa.string()), *((corner, pa.float64()) for corner in CORNERS)]))
UNITS = ("pixels", "shares")
FORM = 'give lists of {"class": …, "x0": …, "y0": …, "x1": …, "y1": …}, x to the right, y down'


class Boxes(Kind):
    """Encode a row as (M, 5): the class's index (−1 is no box), and corners as fractions of the image's sides."""

    SPATIAL = True
    OPTIONS: ClassVar[dict[str, Any]] = {
        "unit": "",  # of the corners: "pixels" or "shares" of the image's sides; pixels where any is above 1
        "size": None,  # [height, width] of the images in pixels, where corners are pixels
        "most": None,  # boxes on one image; 0: twice the most on any training image
    }

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        rows: list[Any] = []
        faults: RowErrors = {}
        for row, value in enumerate(decode_array(column).to_pylist()):
            try:
                rows.append(None if value is None else _boxes(value))
            except DataError as error:
                rows.append([])
                faults[row] = error.problem
        return pa.array(rows, TYPE), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        place = f"column '{name}'"
        boxes = [box for row in column.to_pylist() for box in row]
        if not boxes:
            raise DataError("no training row holds a box", place=place, fix="collect images with boxes")
        farthest = max(box[corner] for box in boxes for corner in CORNERS)
        unit = options.get("unit") or (UNITS[0] if farthest > 1 else UNITS[1])
        if unit not in UNITS:
            raise DataError(f"{unit!r} is not a valid unit", place=place, fix=f"use {' or '.join(UNITS)}")
        size = [1, 1]
        if unit == "pixels":
            if options.get("size") is None:
                fix = "say `{kind: boxes, size: [height, width]}`, or give coordinates as fractions of the sides"
                problem = "the boxes are in pixels, and the size of the images is not known"
                raise DataError(problem, place=place, fix=fix)
            size = pixels.parse_size(options["size"], place)
        most = options.get("most") or 2 * max(len(row) for row in column.to_pylist())
        classes = sorted({box["class"] for box in boxes})
        state = {"values": [classes], "sizes": [len(classes)], "unit": unit, "size": size}
        return TensorField("boxes", (name,), (int(most), 5), "float32", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        place = {name: number for number, name in enumerate(field.state["values"][0])}
        height, width = field.state["size"]
        encoded = np.zeros((len(columns[0]), *field.shape), np.float32)
        encoded[:, :, 0] = -1
        for number, row in enumerate(columns[0].to_pylist()):
            if len(row) > field.shape[0]:
                problem, fix = f"holds {len(row)} boxes where {field.shape[0]} fit", "say `{kind: boxes, most: …}`"
                raise DataError(problem, place=f"row {number}, column '{field.columns[0]}'", fix=fix)
            for index, box in enumerate(row):
                if box["class"] not in place:
                    problem = f"'{box['class']}' is not a class of the training rows"
                    fix = f"known: {list(place)}"
                    raise DataError(problem, place=f"row {number}, column '{field.columns[0]}'", fix=fix)
                shares = [box["x0"] / width, box["y0"] / height, box["x1"] / width, box["y1"] / height]
                encoded[number, index] = [place[box["class"]], *np.clip(shares, 0, 1)]
        return encoded

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        height, width = field.state["size"]
        scale, classes = np.array([width, height, width, height]), field.state["values"][0]
        return [[_named(classes[int(box[0])], box[1:] * scale) for box in row[row[:, 0] >= 0]] for row in values]

    def measure(self, column: pa.Array) -> Counter[str]:
        return Counter(box["class"] for row in column.drop_null().to_pylist() for box in row)

    def show_target(
        self, field: TensorField, columns: Sequence[pa.Array], over: Sequence[Any], predicted: Sequence[Any] = ()
    ) -> Sequence[Mark]:
        """Draw boxes over the images that they belong to."""
        rows = zip(over, self.decode(field, self.encode(field, columns)), predicted or [()] * len(over), strict=True)
        size = field.state["size"]
        return [marks.BoxedImage(image.png, size, actual, said, "boxes") for image, actual, said in rows]

    def hash_input(self, column: pa.Array) -> list[bytes]:
        return [json.dumps(row, sort_keys=True).encode() for row in column.to_pylist()]


def _named(name: str, corners: np.ndarray) -> dict[str, Any]:
    return {"class": name, **dict(zip(CORNERS, corners.tolist(), strict=True))}


def _boxes(value: Any) -> list[dict[str, Any]]:
    """Parse the boxes of one row. Raises DataError where they are none."""
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DataError("not JSON", fix=FORM) from error
    if not isinstance(value, list):
        raise DataError("not a list of boxes", fix=FORM)
    return [_box(box) for box in value]


def _box(box: Any) -> dict[str, Any]:
    if not isinstance(box, dict) or box.get("class") is None or any(corner not in box for corner in CORNERS):
        raise DataError("a box lacks its class or a corner", fix=FORM)
    try:
        x0, y0, x1, y1 = (float(box[corner]) for corner in CORNERS)
    except (TypeError, ValueError) as error:
        raise DataError("a corner is not a number", fix=FORM) from error
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0 or min(x0, y0) < 0:
        raise DataError(f"the box {x0:g}, {y0:g} to {x1:g}, {y1:g} is empty or lies outside the image", fix=FORM)
    return {"class": str(box["class"]), "x0": x0, "y0": y0, "x1": x1, "y1": y1}
