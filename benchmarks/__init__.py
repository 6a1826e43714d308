"""Measure Evergreen against what people would use otherwise: `python -m benchmarks.NAME`.

With SMALL=1 in the environment each runs to its end in seconds, at sizes that show that it works and not how fast.
"""

import os
from typing import TypeVar

SMALL = bool(os.environ.get("SMALL"))
Size = TypeVar("Size")


def sized(whole: Size, small: Size) -> Size:
    """Return the size to measure at: `small` with SMALL=1."""
    return small if SMALL else whole
