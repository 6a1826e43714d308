"""Python looks for cycles among its objects each time that some hundreds more are there than before. Where very many
are made that are in none, such as the names of files or the modules of a library, that takes a tenth of all time.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 1_000_000
atexit.register(gc.freeze)  # nor need what a process leaves be swept: its end would take 50 ms longer


@contextmanager
def infrequent_gc() -> Iterator[None]:
    """Meanwhile it looks once in so many OBJECTS."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
