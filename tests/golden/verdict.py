"""Whether a run that differs from the written one may: only where the VERSION of a part that is behind it changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.golden.results import differences

AGAIN = "python -m tests.golden --write"
ROWS = ("stage collect", "source")
PREPARED = (*ROWS, "stage preprocess", "kind", "task")
LEARNED = (*PREPARED, "stage train", "architecture")
BEHIND = {  # result → the parts, or groups of parts, that decide it
    "raw": ROWS,
    "ready": PREPARED,
    "parts": LEARNED,
    "batches": (*PREPARED, "stage train"),
    "recipe": LEARNED,
    "weights": LEARNED,
    "weights_bytes": LEARNED,
    "scores": LEARNED,
}


def raised(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Returns the parts whose VERSION differs from the written one."""
    before, now = expected.get("versions", {}), found.get("versions", {})
    return sorted(name for name in set(before) | set(now) if before.get(name) != now.get(name))


def unexplained(
    expected: Mapping[str, Any], found: Mapping[str, Any], *, same_bytes: bool, exact: bool = False
) -> dict[str, str]:
    """Returns by result what differs though no part behind it has another VERSION."""
    changed = raised(expected, found)
    told = differences(expected, found, same_bytes=same_bytes, exact=exact)
    return {result: words for result, words in told.items() if not any(_behind(part, result) for part in changed)}


def problem(expected: Mapping[str, Any], found: Mapping[str, Any], *, same_bytes: bool, exact: bool = False) -> str:
    """Returns what is wrong with a run, in words, or nothing where it made what is written."""
    if left := unexplained(expected, found, same_bytes=same_bytes, exact=exact):
        shown = "\n".join(f"  {result}: {words}" for result, words in left.items())
        parts = ", ".join(f"{group} {name}" for group, names in found["parts"].items() for name in names)
        fix = f"undo the change, or raise the VERSION of what changed among {parts}, then: {AGAIN}"
        return f"results changed, no VERSION behind them did:\n{shown}\n{fix}"
    if changed := raised(expected, found):
        return f"other VERSION than written: {', '.join(changed)}; write the results again: {AGAIN}"
    return ""


def _behind(part: str, result: str) -> bool:
    return any(part == name or part.startswith(f"{name} ") for name in BEHIND[result])
