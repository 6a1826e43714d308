"""Keep the secrets of addresses out of what sources return and raise, those of a project's own sources too."""

import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, UserError
from evergreen.core.redaction import known_secrets, redact, restore


def guard(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method `name` of a source so that what it returns or raises holds no secret of the address."""

    @wraps(method)
    def read(self: Any) -> Iterator[pa.RecordBatch]:
        with hide_secrets(self.uri), closing(_iterate(method(self))) as batches:
            for batch in batches:
                yield _restore_origins(batch)

    @wraps(method)
    def called(self: Any) -> Any:
        with hide_secrets(self.uri):
            found = method(self)
            return restore(found) if isinstance(found, str) else found

    return read if name == "read" else called


@contextmanager
def hide_secrets(place: str) -> Iterator[None]:
    """Raise an error that repeats a secret without it, and without the errors of libraries that led to it."""
    try:
        yield
    except Exception as error:  # whatever a library or a project's source raises may repeat the address
        words = "".join(traceback.format_exception_only(error))
        chain = "".join(traceback.format_exception(error, limit=0))
        if redact(chain) == chain:
            raise
        if isinstance(error, UserError):
            raise error from None
        raise DataError(redact(words).strip().splitlines()[-1], place=place, fix="check the address") from None


def _iterate(batches: Any) -> Generator[pa.RecordBatch, None, None]:
    yield from batches


def _restore_origins(batch: pa.RecordBatch) -> pa.RecordBatch:
    place = batch.schema.get_field_index("_origin")
    for secret, shown in known_secrets() if place >= 0 else ():
        batch = batch.set_column(place, "_origin", pc.replace_substring(batch.column(place), secret, shown))
    return batch
