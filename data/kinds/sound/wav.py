"""Read and write WAV files without a library, so that 24 bits, floats and odd headers are read, too."""

import struct

import numpy as np

from evergreen.core.errors import DataError
from evergreen.data.decode_limits import spend

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # format tags
FIX = "save it as WAV: PCM of 8, 16, 24 or 32 bits, or float"


def decode_wav(block: bytes) -> tuple[np.ndarray, int]:
    """Return (N,) float32 samples within −1…1, the mean of all channels, and their rate.

    Raises DataError, without a place, for what is not a WAV file, is cut off or holds no sample.
    """
    if block[:4] != b"RIFF" or block[8:12] != b"WAVE":
        raise DataError("is not a WAV file" if block else "the file is empty", fix=FIX)
    form, data = b"", None
    at = 12
    while at + 8 <= len(block) and data is None:
        name, size = block[at : at + 4], int.from_bytes(block[at + 4 : at + 8], "little")
        body = block[at + 8 : at + 8 + size]
        form, data = (body, data) if name == b"fmt " else (form, body if name == b"data" else data)
        at += 8 + size + size % 2
    if len(form) < 16 or data is None:
        raise DataError("is cut off: it holds no samples", fix="record or copy it again")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == EXTENSIBLE and len(form) >= 26:
        tag = int.from_bytes(form[24:26], "little")
    if not channels or not 0 < rate < 2**31:
        raise DataError("its header names no channel or no rate", fix=FIX)
    samples = _samples(data, tag, bits, channels)
    if not len(samples):
        raise DataError("holds 0 samples", fix="record it again, or leave it out")
    if not np.isfinite(samples).all():
        raise DataError("holds NaN or Infinity", fix="record it again, or leave it out")
    return samples, rate


def _samples(data: bytes, tag: int, bits: int, channels: int) -> np.ndarray:
    """Return (N,) float32; an incomplete last sample is ignored."""
    width = bits // 8
    values: np.ndarray
    data = data[: len(data) // (width * channels or 1) * width * channels]
    spend("samples", len(data) // (width or 1))
    if tag == FLOAT and bits in (32, 64):
        values = np.frombuffer(data, f"<f{width}").astype(np.float32)
    elif tag == PCM and bits == 8:  # the one width that is unsigned
        values = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    elif tag == PCM and bits in (16, 32):
        values = np.frombuffer(data, f"<i{width}").astype(np.float32) / 2 ** (bits - 1)
    elif tag == PCM and bits == 24:  # the upper three bytes of 32 bits
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    else:
        raise DataError(f"its sample format is not supported (format {tag}, {bits} bits)", fix=FIX)
    return np.asarray(values.reshape(-1, channels).mean(axis=1, dtype=np.float32))


def encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """Return (N,) samples within −1…1 as a WAV file of 16 bits and one channel."""
    data: bytes = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", PCM, 1, rate, 2 * rate, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body
