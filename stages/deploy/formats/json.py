"""One object of JSON, as `/predict` answers; here written batch by batch. As a body it is read whole elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO

from evergreen.stages.answer_table import Answers

CONTENT_TYPE = "application/json"
IS_TEXT = True
read = None


def write(file: IO[bytes], batches: Iterator[Answers], about: Mapping[str, str]) -> None:
    """Write the version, the request's id, and one prediction per row."""
    file.write(json.dumps(dict(about), separators=(",", ":")).removesuffix("}").encode() + b',"predictions":[')
    for number, answers in enumerate(batches):
        parts = (json.dumps(answer, allow_nan=False, separators=(",", ":")) for answer in answers.objects)
        file.write(b"," * bool(number) + ",".join(parts).encode())
    file.write(b"]}")
