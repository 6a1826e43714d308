"""Bound what decoding the values of a request may cost: pixels, samples, and seconds of the processor."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

from evergreen.core.errors import DataError

Limits = tuple[Mapping[str, float], "Counter[str]", float]  # the limits, what is spent, the thread's time at the start
_current: ContextVar[Limits | None] = ContextVar("decode_limits", default=None)


@contextlib.contextmanager
def limit_decoding(limits: Mapping[str, float]) -> Iterator[None]:
    """Refuse to decode beyond `limits` in this thread: {"max_pixels", "max_samples", "max_parse_seconds"}."""
    token = _current.set((limits, Counter(), time.thread_time()))
    try:
        yield
    finally:
        _current.reset(token)


def spend(name: str = "", amount: int = 0) -> None:
    """Count what is about to be decoded, and the time. Raises DataError beyond a limit that is in force."""
    if (current := _current.get()) is None:
        return
    limits, spent, start = current
    spent[name] += amount
    most, seconds = limits.get(f"max_{name}", 0), limits["max_parse_seconds"]
    if spent[name] > most and name:
        problem = f"the request holds {spent[name]:,} {name}, and max_{name} is {most:,}"
        raise DataError(problem, fix="send fewer or smaller ones, or raise it in the section deploy")
    if time.thread_time() - start > seconds:
        problem = f"the request takes longer to read than max_parse_seconds, {seconds:g}"
        raise DataError(problem, fix="send fewer rows, or raise it in the section deploy")
