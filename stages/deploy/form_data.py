"""Read rows from forms with files, `multipart/form-data` (RFC 7578): pictures, sounds and texts as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

from evergreen.core.errors import DataError
from evergreen.stages.deploy.request_body import RequestError, check_count
from evergreen.stages.deploy.tensors import read_text

CONTENT_TYPE = "multipart/form-data"
FIX = "send it as curl -F does: -F image=@picture.png -F age=44"
MAX_HEAD_BYTES = 4096  # of a part


def read_form(
    body: bytes | bytearray, content_type: str, schema: Mapping[str, Any], limits: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of a form, as many as there are of each field. Raises RequestError and DataError."""
    columns: dict[str, list[Any]] = {}
    for name, data in _read_parts(bytes(body), content_type, limits["max_values"]):
        columns.setdefault(name, []).append(_to_value(data, schema["properties"].get(name)))
    counts = {len(values) for values in columns.values()}
    if len(counts) != 1:
        problem = "there are no fields" if not counts else "some fields come oftener than others"
        raise DataError(problem, place="the form", fix="send each field once for each row")
    check_count(counts.pop(), limits)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _read_parts(body: bytes, content_type: str, max_parts: int) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each part."""
    boundary = _parse_header("Content-Type", content_type).get_param("boundary")
    if not isinstance(boundary, str) or not boundary.isascii() or not boundary:
        raise RequestError(400, "the header Content-Type names no boundary", fix=FIX)
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), max_parts + 2)
    if len(parts) > max_parts:
        raise RequestError(413, f"the form has more than {max_parts:,} parts", fix="send fewer rows in each request")
    if not parts or not parts[-1].startswith(b"--"):
        raise RequestError(400, "the form is cut off, or not of the boundary that its header names", fix=FIX)
    for part in parts[:-1]:
        head, found, data = part.lstrip(b" \t").removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = _read_name(head) if found and len(head) <= MAX_HEAD_BYTES else None
        if name is None:
            raise RequestError(400, "a part of the form has no name", fix=FIX)
        yield name, data


def _read_name(head: bytes) -> str | None:
    disposition = BytesHeaderParser().parsebytes(head + b"\r\n\r\n").get("Content-Disposition", "")
    name = _parse_header("Content-Disposition", str(disposition)).get_param("name", header="Content-Disposition")
    return name if isinstance(name, str) else None


def _parse_header(name: str, value: str) -> Message:
    message = Message()
    message[name] = value.replace("\r", " ").replace("\n", " ")
    return message


def _to_value(data: bytes, schema: Mapping[str, Any] | None) -> Any:
    """Return what JSON would have for a part: a file's text or base64, a number, a list; null for nothing."""
    if not data:
        return None
    value = read_text(data, schema or {})
    if schema is None or schema.get("type") == "string" or '"byte"' in json.dumps(schema) or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value  # the check of the field says what is wrong
