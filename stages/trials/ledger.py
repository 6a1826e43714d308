"""Record finished trials, one JSON line each; lines are only ever added.

A line's key is a hash of all that decides the trial's score. So a search that was killed, or is run again, takes what
it finds and repeats nothing; changed data or code make other keys.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evergreen.core.files import write_text

CUT = b'{"cut": true}'


class Ledger:
    """Read and write lines of one context: what all trials of a search have in common."""

    def __init__(self, path: Path, context: Mapping[str, Any]) -> None:
        self.path, self.context, self.data = path, _hash(context), context.get("data", "")

    def key(self, options: Mapping[str, Any]) -> str:
        """Return the key of a trial with these options in this context."""
        return _hash({"context": self.context, "options": options})

    def entries(self) -> list[dict[str, Any]]:
        """Return this context's finished trials, in the order they ended; a killed process's torn line is skipped."""
        return read_searches(self.path).get(self.context, [])

    def prune(self) -> None:
        """Drop the lines of other contexts, which nothing will ask for any more."""
        lines = [json.dumps(entry, sort_keys=True) for entry in self.entries()] + [CUT.decode()] * self.cuts()
        if self.path.exists():
            write_text(self.path, "".join(f"{line}\n" for line in lines))

    def cuts(self) -> int:
        """Return how often a plan was cut off; only ever more, whatever the context."""
        return self.path.read_bytes().count(CUT) if self.path.exists() else 0

    def count_cut(self) -> None:
        """Record that a plan was cut off."""
        self._append(CUT)

    def add(self, options: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Append a finished trial in one write, on a line of its own even where the last one is torn."""
        entry = {"key": self.key(options), "context": self.context, "options": dict(options), **facts}
        self._append(json.dumps(entry, sort_keys=True).encode())

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = size > 0 and file.read(1) != b"\n"
            file.write((b"\n" if torn else b"") + line + b"\n")
            file.flush()
            os.fsync(file.fileno())


def read_searches(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the finished trials of each context in a ledger, in the order they ended; torn lines are skipped."""
    searches: dict[str, dict[str, dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict) and {"context", "key"} <= entry.keys():
            searches.setdefault(entry["context"], {}).setdefault(entry["key"], entry)
    return {context: list(entries.values()) for context, entries in searches.items()}


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()
