"""Decode and encode image files (PNG, JPEG and whatever else Pillow reads).

A column of files holds bytes, or structures with a field `bytes`, as in Hugging Face's data sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors
from evergreen.data.decode_limits import spend

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 100_000_000  # pixels; a small file can claim to be an image that fills the memory
RUN_PROGRAMS = {"EPS"}  # formats that Pillow hands to another program: Ghostscript
GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in brightness (ITU-R BT.601)


def as_image_bytes(column: pa.Array) -> pa.Array | None:
    """Return a column's files as bytes; None where it holds something else."""
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return as_image_bytes(column.field("bytes"))
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        column = column.cast(pa.binary())
    return column if pa.types.is_binary(column.type) else None


def image_errors(column: pa.Array) -> RowErrors:
    """Return row → what is wrong with its file; missing files are the caller's."""
    errors = {row: _fault(data.as_py()) for row, data in enumerate(column) if data.is_valid}
    return {row: reason for row, reason in errors.items() if reason}


def _fault(data: bytes) -> str:
    try:
        open_image(data, (1, 1)).load()
    except DataError as error:
        return error.problem
    except (OSError, SyntaxError, ValueError, IndexError) as error:  # what Pillow raises for files cut off or damaged
        return f"the image is damaged ({str(error).splitlines()[0][:80]})"
    return ""


def open_image(data: bytes, least: tuple[int, int] | None = None) -> Image:
    """Open an image without decoding it; a JPEG file is decoded no larger than needed for `least` (width, height).

    Raises DataError for what is not an image, or far too large.
    """
    from PIL import Image, UnidentifiedImageError

    Image.init()
    try:
        image = Image.open(BytesIO(data), formats=[name for name in Image.OPEN if name not in RUN_PROGRAMS])
    except Image.DecompressionBombError as error:
        raise DataError("the image has too many pixels", fix=f"give at most {MOST:,}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        problem = "the file is empty" if not data else "it is not a readable image"
        raise DataError(problem, fix="give a whole PNG or JPEG file") from error
    if image.width * image.height > MOST:
        raise DataError(f"the image has {image.width} × {image.height} pixels", fix=f"give at most {MOST:,}")
    spend("pixels", image.width * image.height)
    if least:
        image.draft(None, least)
    return image


def image_shape(data: bytes) -> tuple[int, int, int]:
    """Return height, width and channels (1 or 3), from a file's first bytes alone."""
    image = open_image(data)
    return image.height, image.width, 1 if image.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "F") else 3


def decode_image(data: bytes, size: Sequence[int], channels: int) -> np.ndarray:
    """Return (H, W, channels) uint8 of a file, upright, on white where it is transparent."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(open_image(data, (2 * size[1], 2 * size[0])))
    if image.mode.startswith("I"):  # 16 bits a pixel
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(*size, channels)


def decode_labels(data: bytes, size: Sequence[int] | None) -> np.ndarray:
    """Return (H, W) int64 of a file that holds classes: grey values, palette places, or colors as 0xRRGGBB."""
    from PIL import Image

    image = open_image(data)
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        image = image.convert("RGB")
    if size and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.NEAREST)
    values = np.asarray(image).astype(np.int64)
    return values if values.ndim == 2 else (values[:, :, 0] << 16) + (values[:, :, 1] << 8) + values[:, :, 2]


def resize_images(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return (N, H, W, C) numbers in another height and width."""
    from PIL import Image

    if values.shape[1:3] == tuple(size):
        return values
    planes = values.astype(np.float32).transpose(0, 3, 1, 2).reshape(-1, *values.shape[1:3])
    way = (size[1], size[0]), Image.Resampling.BICUBIC
    small = np.stack([np.asarray(Image.fromarray(plane).resize(*way)) for plane in planes])
    return small.reshape(len(values), values.shape[3], *size).transpose(0, 2, 3, 1)


def with_channels(values: np.ndarray, channels: int) -> np.ndarray:
    """Return (N, H, W, C) numbers with 1 or 3 channels: brightness, or one grey three times."""
    if values.shape[3] == channels:
        return values
    if channels == 3:
        return values[..., :1].repeat(3, axis=3)
    return values[..., :3] @ np.asarray(GREY)[:, None] if values.shape[3] >= 3 else values[..., :1]


def encode_png(values: np.ndarray) -> bytes:
    """Return a PNG file of (H, W) or (H, W, C) values from 0 to 255."""
    from PIL import Image

    pixels = values.round().clip(0, 255).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()


def parse_size(given: Any, place: str) -> list[int]:
    """Parse the option `size`: [height, width], or one number for both. Raises DataError otherwise."""
    pair = [given, given] if isinstance(given, int) else given
    is_pair = isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(side, int) for side in pair)
    if not is_pair or min(pair) < 1:
        raise DataError(f"size is not valid (got {given!r})", place=place, fix="use [height, width] in pixels")
    return list(pair)
