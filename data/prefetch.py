"""Make items ahead of their consumer, in a thread."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Yield the items in order, up to `depth` of them made before they are asked for.

    An exception of the iterator is raised in its place. When this generator ends or is closed, its thread has
    ended.
    """
    end = object()
    with ThreadPoolExecutor(1, "feed") as pool:
        waiting = deque(pool.submit(next, items, end) for _ in range(depth))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(pool.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            pool.shutdown(cancel_futures=True)
