"""Degrade images with noise and fewer pixels, so that a model can learn to restore them."""

import hashlib

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.arrow import decode_array, stack_lists
from evergreen.data.kinds import _images as pixels
from evergreen.data.kinds.image import Image

PLACE = "preprocess"


def degrade_images(table: pa.Table, target: str, *, noise_std: float, downscale: int) -> pa.Table:
    """Add a column of smaller (`small`) or noisy (`noisy`) images, from which the target can be restored.

    `downscale` divides the sides; `noise_std` is the deviation of Gaussian noise as a fraction of the range of
    values, cut off at its ends; both together are `noisy`. 1 and 0 change nothing. An image's noise depends on its
    own bytes. Raises DataError where the target holds no images, or the column's name is taken.
    """
    if noise_std <= 0 and downscale <= 1:
        return table
    if target not in table.column_names:
        return table  # who looks for it says so
    name = "noisy" if noise_std > 0 else "small"
    if name in table.column_names:
        fix = "take noise_std and downscale out: the column itself is the input"
        raise DataError(f"there is a column '{name}' already", place=PLACE, fix=fix)
    column, faults = Image().validate(decode_array(table.column(target)))
    if len(faults) == len(column):
        raise DataError(f"'{target}' holds no images to degrade", place=PLACE, fix="take noise_std and downscale out")
    if pa.types.is_binary(column.type):
        files = [None if row in faults or not data.is_valid else data.as_py() for row, data in enumerate(column)]
        made = pa.array([file and _file(file, noise_std, downscale) for file in files], pa.binary())
    else:
        made = _matrices(stack_lists(column)[0], noise_std, downscale)
    return table.append_column(name, made)


def _file(data: bytes, noise_std: float, downscale: int) -> bytes:
    height, width, channels = pixels.image_shape(data)
    values = pixels.decode_image(data, (max(1, height // downscale), max(1, width // downscale)), channels).astype(
        np.float64
    )
    return pixels.encode_png(values + _noise(data, values.shape) * noise_std * 255)


def _matrices(values: np.ndarray, noise_std: float, downscale: int) -> pa.Array:
    """Return (N, H, W) or (N, H, W, C) as a column of smaller or noisier images."""
    low, high = float(values.min()), float(values.max())
    size = [max(1, side // downscale) for side in values.shape[1:3]]
    small = pixels.resize_images(values if values.ndim == 4 else values[..., None], size).astype(np.float64)
    added = np.stack([_noise(row.tobytes(), small.shape[1:]) for row in values]) * noise_std * (high - low)
    spoilt = (small + added).clip(low, high)
    spoilt = np.ascontiguousarray(spoilt.reshape(len(values), *size, *values.shape[3:]))
    return pa.FixedShapeTensorArray.from_numpy_ndarray(spoilt)


def _noise(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    seed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    return np.random.default_rng(seed).standard_normal(shape)
