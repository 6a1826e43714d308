"""Find the formats in which rows come and answers go, batch by batch: one file each.

A format is a module here with `CONTENT_TYPE`, `IS_TEXT`, `read(path, limits)`, which yields rows as `Rows`, and
`write(file, batches, about)`, which writes batches of answers. One more format is one more file.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.stages.answer_table import Answers


BATCH_ROWS = 1024  # answered at once


@dataclass(frozen=True)
class Rows:
    """A batch of rows: a table as files have it, or objects as JSON has them."""

    table: pa.Table | None = None
    objects: list[Any] = field(default_factory=list)
    faults: Mapping[int, str] = field(default_factory=dict)  # row of the table → why it could not be read

    def __len__(self) -> int:
        return len(self.objects) if self.table is None else int(self.table.num_rows)


class Format(Protocol):
    """The contract of a module of a format."""

    CONTENT_TYPE: str
    IS_TEXT: bool  # lines, of which none may be longer than a whole body of JSON

    def read(self, path: Path, batch_rows: int, limits: Mapping[str, Any]) -> Iterator[Rows]:
        """Yield the rows of a file, at most `batch_rows` at a time. Raises DataError where it is damaged."""

    def write(self, file: IO[bytes], batches: Iterator[Answers], about: Mapping[str, str]) -> None:
        """Write batches of answers, of which there is at least one; `about` are the version and the request's id."""


@cache
def formats() -> dict[str, Format]:
    """Return content type → format."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    modules = [import_module(f"{__name__}.{name}") for name in names]
    return {module.CONTENT_TYPE: module for module in modules}  # type: ignore[misc]
