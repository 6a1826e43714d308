"""Turn, scale, shear and shift images a little."""

import numpy as np

TURN = np.deg2rad(12)  # at most, to either side
SCALE = 0.12  # at most, up or down: a share of the size
SHEAR = 0.12  # at most: so many columns a row, or rows a column
SHIFT = 0.08  # at most: a share of the side


def random_affine(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return each image of (N, C, H, W) under a random affine map of its own, interpolated bilinearly.

    What comes in at the rim is the image's own darkest value of that channel. Shape and type stay.
    """
    count, _, height, width = images.shape
    size = np.array([height, width])
    turn, shear = random.uniform(-TURN, TURN, count), random.uniform(-SHEAR, SHEAR, (2, count))
    scale = 1 + random.uniform(-SCALE, SCALE, (2, count, 1))
    shift = random.uniform(-SHIFT, SHIFT, (count, 2)) * size
    cos, sin = np.cos(turn), np.sin(turn)
    down = np.stack([cos, sin + shear[0]], 1) * scale[0]  # (N, 2): how a step down, or right, moves the place read
    right = np.stack([shear[1] - sin, cos], 1) * scale[1]
    middle = (size - 1) / 2
    y, x = np.arange(height) - middle[0], np.arange(width) - middle[1]
    places = y[:, None, None] * down[:, None, None] + x[:, None] * right[:, None, None]  # (N, H, W, 2)
    return _read(images, (places + (middle + shift)[:, None, None]).astype(np.float32))


def _read(images: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) at places (N, H, W, 2), row and column, with a dark rim all round."""
    count, channels, height, width = images.shape
    rimmed = np.empty((count, height + 2, width + 2, channels), images.dtype)
    rimmed[:] = images.min(axis=(2, 3))[:, None, None]
    rimmed[:, 1:-1, 1:-1] = images.transpose(0, 2, 3, 1)
    places = np.clip(places + 1, 0, np.array([height + 1, width + 1], np.float32) - 1e-3)
    corner = places.astype(np.intp)
    share = (places - corner).astype(images.dtype)
    flat = rimmed.reshape(-1, channels)
    first = (np.arange(count)[:, None, None] * (height + 2) + corner[..., 0]) * (width + 2) + corner[..., 1]
    far, near = share[..., :1], share[..., 1:]
    top = flat[first] * (1 - near) + flat[first + 1] * near
    bottom = flat[first + width + 2] * (1 - near) + flat[first + width + 3] * near
    return np.ascontiguousarray((top * (1 - far) + bottom * far).transpose(0, 3, 1, 2))
