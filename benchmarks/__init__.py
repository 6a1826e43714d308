"""Measure Evergreen against what people would use otherwise: `python -m benchmarks.NAME`.

With SMALL=1 in the environment each runs to its end in seconds, at sizes that show that it works and not how fast.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

SMALL = bool(os.environ.get("SMALL"))
Size = TypeVar("Size")


def sized(whole: Size, small: Size) -> Size:
    """Return the size to measure at: `small` with SMALL=1."""
    return small if SMALL else whole


_open: list[Path] = []


@contextlib.contextmanager
def ray_project() -> Iterator[Path]:
    """A new project whose Ray is up; benchmarks inside another such block share its project."""
    from evergreen.stages.engines import ray_cluster

    if _open:
        yield _open[0]
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        _open.append(Path(folder))
        try:
            ray_cluster.connect(_open[0])
            yield _open[0]
        finally:
            ray_cluster.stop(_open.pop())
