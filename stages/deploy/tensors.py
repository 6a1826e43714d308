"""Convert between tensors of the Open Inference Protocol and rows: each column of the rows is one tensor (N, …).

A tensor's data lie in the JSON, flat or nested, or behind it as bytes: numbers little-endian in the order of C, texts
each after its length in four bytes.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError

NUMBERS = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"} | {
    f"{sign}INT{8 * size}": f"<{letter}{size}" for sign, letter in (("", "i"), ("U", "u")) for size in (1, 2, 4, 8)
}
TEXT = "BYTES"
TYPE_OF = {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}  # of JSON's schema; all else is BYTES
Entry = Mapping[str, Any]  # what JSON says of a tensor


def describe_field(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a field of a row as a tensor: its name, datatype and shape; -1 stands for any length."""
    shape = [-1]
    while schema.get("type") == "array":
        shape.append(schema["maxItems"] if schema.get("maxItems") == schema.get("minItems", math.nan) else -1)
        schema = schema["items"]
    return {"name": name, "datatype": TYPE_OF.get(str(schema.get("type")), TEXT), "shape": shape}


def read_tensor(entry: Entry, data: memoryview | None, schema: Mapping[str, Any]) -> list[Any]:
    """Return the values of a tensor, one a row, as JSON would have them; `data` are its bytes behind the JSON.

    Raises DataError where shape, datatype and data do not agree.
    """
    place = f"input '{str(entry.get('name'))[:80]}'"
    shape, datatype = entry.get("shape"), str(entry.get("datatype"))
    if not isinstance(shape, list) or not shape or not all(type(side) is int and side > 0 for side in shape):
        raise DataError(
            "its shape is not a list of lengths, of which the first is the rows", place=place, fix="send one"
        )
    if datatype != TEXT and datatype not in NUMBERS:
        fix = f"use one of {TEXT}, {', '.join(NUMBERS)}"
        raise DataError(f"there is no datatype {datatype[:20]!r}", place=place, fix=fix)
    if len(shape) > 1 and shape[1:] == [1] and schema.get("type") != "array":
        shape = shape[:1]  # clients like a column to be (N, 1)
    if data is not None:
        return (
            _read_texts(data, shape, schema, place) if datatype == TEXT else _read_numbers(data, datatype, shape, place)
        )
    values = entry.get("data")
    if not isinstance(values, list):
        raise DataError("it has no data", place=place, fix="send a list, or bytes behind the JSON")
    if any(isinstance(value, list) for value in values[:1]):
        values = [
            value[0] if len(shape) == 1 and isinstance(value, list) and len(value) == 1 else value for value in values
        ]
    elif len(shape) > 1:
        values = _fold(values, shape, place)
    if len(values) != shape[0]:
        raise DataError(f"it has {len(values):,} values where its shape says {shape[0]:,}", place=place, fix="send all")
    return [read_text(value, schema) for value in values] if datatype == TEXT else values


def _read_numbers(data: memoryview, datatype: str, shape: Sequence[int], place: str) -> list[Any]:
    kind = np.dtype(NUMBERS[datatype])
    if math.prod(shape) * kind.itemsize != len(data):
        problem = f"{len(data):,} bytes do not hold {datatype} of the shape {list(shape)}"
        raise DataError(problem, place=place, fix="send as many as the shape says")
    values: list[Any] = np.frombuffer(data, kind).reshape(shape).tolist()
    return values


def _read_texts(data: memoryview, shape: Sequence[int], schema: Mapping[str, Any], place: str) -> list[Any]:
    values, start = [], 0
    while start + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, start)
        values.append(bytes(data[start + 4 : start + 4 + length]))
        start += 4 + length
    if start != len(data) or len(values) != math.prod(shape):
        problem = f"{len(data):,} bytes do not hold texts of the shape {list(shape)}"
        raise DataError(problem, place=place, fix="send each text after its length in four bytes")
    return _fold([read_text(value, schema) for value in values], shape, place)


def read_text(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a text as JSON has it: a file as base64, and an object as such."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
            is_text = value.isprintable() or "format" not in str(schema)
        except UnicodeDecodeError:
            is_text = False
        if not is_text:
            return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
    if schema.get("type") == "object" and isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value  # the check of the field says what is wrong
    return value


def _fold(values: list[Any], shape: Sequence[int], place: str) -> list[Any]:
    """Return a flat list as lists in lists of a shape."""
    if math.prod(shape) != len(values):
        problem = f"it has {len(values):,} values where its shape {list(shape)} says {math.prod(shape):,}"
        raise DataError(problem, place=place, fix="send all")
    for side in reversed(shape[1:]):
        values = [values[start : start + side] for start in range(0, len(values), side)]
    return values


def write_tensor(name: str, column: pa.Array, *, is_binary: bool) -> tuple[dict[str, Any], bytes]:
    """Return what JSON says of a column of answers, and the bytes behind it: texts, numbers, or lists of numbers."""
    datatype, values_N = to_tensor(column)
    entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(values_N.shape)}
    if not is_binary:
        return {**entry, "data": values_N.ravel().tolist()}, b""
    if datatype == TEXT:
        texts = [text.encode() for text in values_N.ravel().tolist()]
        data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    else:
        data = values_N.astype(NUMBERS[datatype]).tobytes()
    return {**entry, "parameters": {"binary_data_size": len(data)}}, data


def to_tensor(column: pa.Array) -> tuple[str, np.ndarray]:
    """Return the datatype and the values (N, …) of a column of answers; what is no tensor is JSON in texts."""
    values = column.to_pylist()
    try:
        array = np.array(values)
    except ValueError:  # rows of several lengths
        array = np.array(None)
    for datatype, kinds in (("BOOL", "b"), ("INT64", "i"), ("FP64", "f")):
        if array.dtype.kind in kinds:
            return datatype, array
    if array.dtype.kind == "U" and len(array) == len(values):
        return TEXT, np.array(values, object)
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return TEXT, np.array(texts, object)
