"""Write arrays of pixels as PNG files. The same pixels give the same bytes."""

import base64
import struct
import zlib
from typing import Any


def png(values: Any) -> str:
    """Return an array (C, H, W) as a PNG file in base64, stretched from its darkest value to its brightest.

    The first or the first three channels are shown.
    """
    channels = values[:3] if len(values) >= 3 else values[:1]
    low, high = float(channels.min()), float(channels.max())
    return _png(((channels - low) * (255 / ((high - low) or 1))).round().astype("uint8").transpose(1, 2, 0))


def mask_png(classes: Any) -> str:
    """Return classes (H, W), -1 where there is none, as a grey PNG file in base64 that holds class + 1."""
    return _png((classes + 1).astype("uint8")[:, :, None])


def _png(pixels: Any) -> str:
    """Encode (H, W, 1 or 3) of bytes."""
    height, width, depth = pixels.shape
    raw = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if depth == 3 else 0, 0, 0, 0)
    body = b"".join(png_chunk(*part) for part in ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def png_chunk(name: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
