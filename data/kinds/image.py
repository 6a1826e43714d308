"""Images of any size, standardised per channel: files or matrices (H, W) or (H, W, C) become tensors (C, H, W)."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core import marks
from evergreen.core.errors import DataError
from evergreen.core.marks import Mark
from evergreen.core.png import png
from evergreen.data.arrow import RowErrors, decode_array, is_ragged, list_depth, stack_lists
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds import _augment_image as affine
from evergreen.data.kinds import _images as pixels
from evergreen.data.kinds import _pretrained as pretrained
from evergreen.data.kinds._json import format_value, parse_numeric_array
from evergreen.data.kinds.duplicates.image_duplicates import find_duplicate_images
from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate

FIRST = 10  # files that are looked at to tell whether a column of bytes holds images; some may be damaged
EXAMPLE = 4096  # values: a larger picture is not written out in the documentation of an endpoint
LONGEST = 64  # pixels: files are made no larger than this unless `size` says so, so that a laptop learns from them
FILE = "base64 text of a PNG or JPEG file, or nested lists (H, W) or (H, W, 3) of numbers from 0 to 255, of any size"


class Image(Kind):
    """Decode images to one size, by default the median of the training images within LONGEST.

    With a `source`, a pretrained model's folder or its name on the hub, size, channels and scale are those of that
    model. `state["pixels"]` is the shape of an image in the data's layout, `state["given"]` that of matrices before
    resizing; `low` and `high` are the ends of each channel's range, standardized.
    """

    TASK = "reconstruction"
    SPATIAL = True
    STEPWISE = True
    TELLS_ROWS_APART = True
    # [height, width] in pixels; 1 grey, 3 colours; whose pixels
    OPTIONS: ClassVar[dict[str, Any]] = {"size": None, "channels": None, "source": ""}

    def detect(self, column: pa.Array) -> float:
        column = decode_array(column)
        files = pixels.as_image_bytes(column)
        if files is not None:
            first = files.drop_null()[:FIRST]
            return 1.0 if len(pixels.image_errors(first)) < len(first) else 0.0
        return 1.0 if list_depth(column.type) in (2, 3) else 0.0

    def guess_target(self, name: str, column: pa.Array) -> tuple[float, str]:
        return 0.9 * self.detect(column), ""  # a mask that is called so is surer

    def needs_all_rows(self, stored: pa.DataType) -> bool:
        return is_ragged(stored)

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        files = pixels.as_image_bytes(column)
        if files is not None:
            return files, pixels.image_errors(files)
        values, faults = stack_lists(column)
        if values.ndim not in (3, 4) or not values.size:
            return column, dict.fromkeys(range(len(column)), "not an image (H, W) or (H, W, C)")
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values)), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        place, source = f"preprocess.kinds.{name}", str(options.get("source") or "")
        if source and target:
            raise DataError("a target cannot use a pretrained model's source", place=place, fix="leave `source` out")
        wanted = pretrained.image_preprocessing(source, place) if source else None
        own = {"size": wanted.size, "channels": wanted.channels} if wanted else {}
        if wanted and options.get("channels") not in (None, wanted.channels):
            raise DataError(f"the source needs {wanted.channels} channels", place=place, fix="leave `channels` out")
        given_options = {key: one for key, one in options.items() if one is not None}
        state = _layout(column, own | given_options, f"column '{name}'")
        values = _images(column, state)  # (N, H, W, C)
        low, high = (0, 255) if state["given"] is None else (values.min(), values.max())
        mean, std = values.mean(axis=(0, 1, 2), dtype=np.float64), values.std(axis=(0, 1, 2), dtype=np.float64)
        if wanted:
            mean, std = (
                high * np.asarray(one) if one else seen for one, seen in ((wanted.mean, mean), (wanted.std, std))
            )
            state |= {"source": source, "config": wanted.config}
        std = np.where(std > 0, std, 1.0)
        ends = {"low": ((low - mean) / std).tolist(), "high": ((high - mean) / std).tolist()}
        state |= {"mean": mean.tolist(), "std": std.tolist(), **ends}
        if values[0].size <= EXAMPLE:
            state["median"] = _as_given(np.median(values, axis=0), state)
        return TensorField("image", (name,), (values.shape[3], *values.shape[1:3]), "float32", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        try:
            values = _images(columns[0], field.state).astype(np.float32)
        except DataError as error:
            raise DataError(error.problem, place=f"column '{field.columns[0]}'", fix=error.fix) from error
        mean, std = (np.asarray(field.state[name], np.float32) for name in ("mean", "std"))
        return np.ascontiguousarray(((values - mean) / std).transpose(0, 3, 1, 2))

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        mean, std = (np.asarray(field.state[name])[:, None, None] for name in ("mean", "std"))
        images = np.moveaxis(values * std + mean, 1, -1)
        lists: list[Any] = images.reshape(len(values), *field.state["pixels"]).tolist()
        return lists

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        given = field.state.get("given", field.state["pixels"])
        if given is not None:
            return parse_numeric_array(value, tuple(given))
        return _file(value) if isinstance(value, str) else _drawn(value)

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        if field.state.get("given", ()) is None:
            return pa.array(values, pa.binary())
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(values))

    def to_json(self, field: TensorField, index: int, value: pa.Scalar) -> Any:
        if field.state.get("given", ()) is None:
            return base64.b64encode(value.as_py()).decode()
        return super().to_json(field, index, value)

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        if field.state.get("given", ()) is None:
            lists = {"type": "array", "items": {"type": "array", "items": {}}}
            schema: dict[str, Any] = {"oneOf": [{"type": "string", "format": "byte"}, lists], "description": FILE}
        else:
            schema = {"type": "number"}
            for length in reversed(field.state.get("given", field.state["pixels"])):
                schema = {"type": "array", "items": schema, "minItems": length, "maxItems": length}
        return schema | ({"example": field.state["median"]} if "median" in field.state else {})

    def find_near_duplicates(self, column: pa.Array, other: pa.Array) -> list[NearDuplicate]:
        return find_duplicate_images(column, other)

    def row_features(self, column: pa.Array) -> np.ndarray:
        """Return brightness, contrast, and each image in 4 × 4 pixels."""
        if pa.types.is_binary(column.type):
            values = np.stack([pixels.decode_image(data.as_py(), (16, 16), 3) for data in column]).astype(np.float32)
        else:
            values = stack_lists(column)[0].astype(np.float32)
            values = values if values.ndim == 4 else values[..., None]
        small = pixels.resize_images(values, (4, 4)).reshape(len(values), -1)
        return np.column_stack([values.mean(axis=(1, 2, 3)), values.std(axis=(1, 2, 3)), small])

    def hash_input(self, column: pa.Array) -> pa.Array | list[bytes]:
        if pa.types.is_binary(column.type):
            return column
        return [row.tobytes() for row in np.ascontiguousarray(stack_lists(column)[0] + 0.0, dtype="<f8")]

    MEASURE = "mean brightness"

    def measure(self, column: pa.Array) -> np.ndarray:
        if pa.types.is_binary(column.type):
            images = column.drop_null()
            return np.array([pixels.decode_image(data.as_py(), (16, 16), 1).mean() for data in images], np.float64)
        values = stack_lists(column)[0]
        return np.asarray(values.reshape(len(values), -1).mean(axis=1), np.float64)

    def show(self, field: TensorField, columns: Sequence[pa.Array]) -> Sequence[Mark]:
        return [marks.Image(png(values), field.columns[0]) for values in self.encode(field, columns)]

    def augment(self, field: TensorField, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Turn, scale, shear and shift each image a little."""
        return affine.random_affine(values, random)


def _layout(column: pa.Array, options: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return `given` and `pixels` of the state, from the options or the training images."""
    channels = options.get("channels")
    if channels not in (None, 1, 3):
        raise DataError(f"channels is not valid (got {channels!r})", place=place, fix="use 1 for grey, 3 for colours")
    size = pixels.parse_size(options["size"], place) if options.get("size") is not None else None
    if pa.types.is_binary(column.type):
        shapes = np.array([pixels.image_shape(data.as_py()) for data in column])
        height, width, _ = np.median(shapes, axis=0)
        share = min(1.0, LONGEST / max(height, width))
        size = size or [max(1, round(height * share)), max(1, round(width * share))]
        channels = channels or int(shapes[:, 2].max())
        return {"given": None, "pixels": size if channels == 1 else [*size, channels]}
    given = list(column.type.shape)
    channels = channels if channels and [channels] != (given[2:] or [1]) else None
    layout = (size or given[:2]) + ([channels] if channels == 3 else [] if channels else given[2:])
    return {"given": given, "pixels": layout}


def _images(column: pa.Array, state: Mapping[str, Any]) -> np.ndarray:
    """Return (N, H, W, C) of checked images, in the size and channels of the state."""
    size, channels = state["pixels"][:2], (state["pixels"][2:] or [1])[0]
    if state.get("given", ()) is None:
        if not pa.types.is_binary(column.type):
            raise DataError("holds no files", fix="give the bytes of PNG or JPEG files, as the training rows did")
        return np.stack([pixels.decode_image(data.as_py(), size, channels) for data in column])
    given = tuple(state.get("given", state["pixels"]))
    values, _ = stack_lists(column)
    if values.shape[1:] != given:
        fix = "resize them as the training images were"
        raise DataError(f"holds images of shape {values.shape[1:]} where {given} is expected", fix=fix)
    values = values[..., None] if values.ndim == 3 else values
    return pixels.with_channels(pixels.resize_images(values, size), channels)


def _as_given(median: np.ndarray, state: Mapping[str, Any]) -> Any:
    """Return a typical image as a request has it."""
    if state["given"] is None:
        return base64.b64encode(pixels.encode_png(median)).decode()
    if state["given"] != state["pixels"]:
        side, depth = state["given"][:2], (state["given"][2:] or [1])[0]
        median = pixels.with_channels(pixels.resize_images(median[None], side), depth if depth in (1, 3) else 1)[0]
        median = np.broadcast_to(median[..., :1], (*side, depth)) if median.shape[2] != depth else median
    return median.reshape(state["given"]).tolist()


def _file(text: str) -> bytes:
    """Return the bytes of a file from base64 text, with or without the `data:image/png;base64,` of a web page."""
    head, comma, rest = text.partition(",")
    try:
        data = base64.b64decode(rest if comma and head.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError("is not base64 text", fix=f"give {FILE}") from error
    if reason := pixels.image_errors(pa.array([data], pa.binary())):
        raise DataError(reason[0], fix=f"give {FILE}")
    return data


def _drawn(value: Any) -> bytes:
    """Return a PNG file of nested lists of numbers from 0 to 255."""
    if not isinstance(value, list):
        raise DataError(f"is not an image (got {format_value(value)})", fix=f"give {FILE}")
    try:
        shape = np.shape(value)
    except ValueError:  # ragged
        shape = (0,)
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise DataError("is not an image", fix=f"give {FILE}")
    values = parse_numeric_array(value, shape)
    if values.min() < 0 or values.max() > 255:
        raise DataError("holds numbers outside 0 to 255", fix=f"give {FILE}")
    return pixels.encode_png(values)
