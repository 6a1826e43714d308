"""Merge messages of one kind, so that a person reads one line about two thousand columns."""

import re
from collections.abc import Iterable, Sequence

SUBJECT = re.compile(r"'([^']+)'")  # what a message is about: the first name in quotes
NUMBER = re.compile(r"\d[\d,.]*")
SHOWN = 3  # names that a list of many begins with


def merge_similar(messages: Iterable[str]) -> list[str]:
    """Merge messages that differ in the first quoted name and in numbers alone: the first one stands for all.

    >>> merge_similar(["column 'a' is empty", "column 'b' is empty"])
    ["column 'a' is empty; likewise 'b'"]
    """
    groups: dict[str, dict[str, str]] = {}
    for message in messages:
        subject = SUBJECT.search(message)
        name = subject[1] if subject else message
        words = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "", message) if subject else message
        groups.setdefault(NUMBER.sub("0", words), {}).setdefault(name, message)
    return [_merge(group) for group in groups.values()]


def list_names(names: Sequence[str]) -> str:
    """Return names in quotes, of many the first ones and how many more there are."""
    more = [f"{len(names) - SHOWN:,} more"] if len(names) > SHOWN + 1 else []
    return ", ".join([*(f"'{name}'" for name in names[: SHOWN if more else None]), *more])


def _merge(messages: dict[str, str]) -> str:
    first, *others = messages
    return messages[first] + (f"; likewise {list_names(others)}" if others else "")
