"""Requests that are small to send and large to read."""

import base64
import json
import struct
import zlib
from io import BytesIO

from PIL import Image


def rows(**fields):
    return json.dumps(
        {"rows": [{name: value if isinstance(value, str) else as_text(value) for name, value in fields.items()}]}
    )


def as_text(data):
    return base64.b64encode(data).decode()


def picture(width, height, form="PNG", **how):
    stream = BytesIO()
    Image.new("L" if form == "PNG" else "RGB", (width, height)).save(stream, form, **how)
    return stream.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_that_says(width, height, *more):
    """A PNG file of a few bytes whose header claims a size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(more)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def sound(samples=b"\0\0" * 100, channels=1, rate=8000, bits=16, size=None):
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate % 2**32, 2, bits)
    size = len(samples) if size is None else size
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + samples


def film(frames):
    stream = BytesIO()
    pictures = [Image.new("RGB", (24, 24), (number % 256, 0, 0)) for number in range(frames)]
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:])
    return stream.getvalue()


BOMBS = {
    # path, body, status, words of the message
    "a header of 900 million pixels": ("photos", rows(image=png_that_says(30_000, 30_000)), 422, ["pixels"]),
    "25 million black pixels": ("photos", rows(image=picture(5_000, 5_000)), 422, ["16,777,216", "max_pixels"]),
    "a picture of no height": ("photos", rows(image=png_that_says(10, 0)), 422, ["image"]),
    "JPEG": ("photos", rows(image=picture(4_500, 4_500, "JPEG")), 422, ["20,250,000 pixels", "max_pixels"]),
    "WebP of 73 bytes": (
        "photos",
        rows(image=picture(4_500, 4_500, "WEBP", lossless=True, method=0)),
        422,
        ["max_pixels"],
    ),
    "pictures that are too large together": (
        "photos",
        json.dumps({"rows": [{"image": as_text(picture(2_000, 2_000))}] * 5}),
        422,
        ["row 4", "20,000,000 pixels", "max_pixels"],
    ),
    "a text that unpacks to 100 MB": (
        "photos",
        rows(image=png_that_says(10, 10, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 10**8, 1)))),
        422,
        ["image"],
    ),
    "PostScript": ("photos", rows(image=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nrun"), 422, ["readable"]),
    "base64 of base64": ("photos", rows(image=as_text(picture(9, 9)).encode()), 422, ["readable"]),
    "no base64": ("photos", rows(image="a" * 100_001), 422, ["base64"]),
    "nothing": ("photos", rows(image=b""), 422, ["empty"]),
    "65,535 channels": ("sounds", rows(sound=sound(channels=65_535)), 422, ["0 samples"]),
    "a rate beyond 31 bits": ("sounds", rows(sound=sound(rate=2**32 - 1)), 422, ["rate"]),
    "a rate without end": ("sounds", '{"sound": {"samples": [0.1], "rate": 1%s}}' % ("0" * 99), 422, ["rate"]),
    "5 million samples": ("sounds", rows(sound=sound(b"\0" * 5_000_000, bits=8)), 422, ["4,194,304", "max_samples"]),
    "brackets": ("digits", '{"rows": ' + "[" * 100_000 + "]" * 100_000 + "}", 400, ["JSON"]),
    "objects in objects": ("digits", '{"rows":' * 100_000 + "1" + "}" * 100_000, 400, ["JSON"]),
    "a million rows": ("digits", '{"rows": [' + "{}," * 10**6 + "{}]}", 413, ["1,000,000", "max_values"]),
    "many rows": ("digits", '{"rows": [' + "{}," * 10**5 + "{}]}", 422, ["100001", "max_rows"]),
    "many fields": ("digits", json.dumps({"rows": [{f"f{n}": 1 for n in range(100_000)}]}), 422, ["image", "missing"]),
    "many numbers": ("digits", '{"rows": [{"image": [' + "0," * 500_000 + "0]}]}", 422, ["shape"]),
    "lists of 60 dimensions": ("digits", '{"rows": [{"image": ' + "[" * 60 + "]" * 60 + "}]}", 422, ["shape"]),
    "a number of 4,000 digits": ("digits", '{"rows": [{"image": [[%s]]}]}' % ("9" * 4000), 422, ["image"]),
    "9 MiB": ("digits", " " * (9 * 2**20), 413, ["8388608", "max_body_bytes"]),
}  # fmt: skip
