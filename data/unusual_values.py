"""Count what a prediction met that training rows did not have: unseen, outlying, missing values, and extra fields."""

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.data.field import TensorField
from evergreen.data.kinds import kind_of

MAX_EXAMPLES = 100  # values of a batch that are looked at for an example and another one
MAX_LENGTH = 40  # characters of a value
MAX_NAME = 200  # characters of a field's name
MAX_NAMES = 10_000  # fields that are counted by name: whoever sends requests may make up more
SHOWN = 5  # names in a sentence


@dataclass
class Finding:
    """Hold how many values of a column are unusual in one way, the first of them, and what it may mean."""

    column: str
    what: str  # as `Kind.find_unusual` words it
    values: int = 0
    example: str = ""
    has_others: bool = False
    hint: str = ""

    def format(self, rows: int) -> str:
        """Format the finding as a line."""
        hint = f"; did you mean {self.hint}?" if self.hint else ""
        shown = f" ({self.example}{' …' * self.has_others}{hint})" if self.example else ""
        return f"{self.column}: {self.values:,} of {rows:,} values {_were(self.values)} {self.what}{shown}"


class UnusualValues:
    """Count over any number of batches, from any thread, and say it in words."""

    def __init__(self, *, with_examples: bool = True) -> None:
        """Count; without examples no value that somebody sent is held."""
        self.with_examples, self.rows = with_examples, 0
        self.findings: dict[tuple[str, str], Finding] = {}
        self.ignored: Counter[str] = Counter()  # field that the model does not read → rows
        self._lock = threading.Lock()

    def add(self, field: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray) -> None:
        """Count the rows of one field: its checked columns, and what they were encoded to."""
        kind = kind_of(field)
        for place, what, mask in kind.find_unusual(field, columns, encoded):
            name, held = field.columns[place], pa.array(mask)
            values = columns[place].filter(held).slice(0, MAX_EXAMPLES).to_pylist() if self.with_examples else []
            examples = list(dict.fromkeys(_text(value) for value in values if value is not None))
            with self._lock:
                finding = self.findings.setdefault((name, what), Finding(name, what))
                finding.values += int(np.count_nonzero(mask))
                if examples and not finding.example:
                    finding.example = examples[0]
                    finding.hint = kind.suggest_value(field, place, examples[0])
                finding.has_others |= any(example != finding.example for example in examples)

    def add_rows(self, rows: int) -> None:
        """Count rows that are predicted."""
        with self._lock:
            self.rows += rows

    def ignore(self, names: Iterable[str], rows: int = 1) -> None:
        """Count rows that have fields of these names, which the model does not read."""
        with self._lock:
            for name in (name[:MAX_NAME] for name in names):
                if name in self.ignored or len(self.ignored) < MAX_NAMES:
                    self.ignored[name] += rows

    def lines(self, *, noun: str = "column") -> list[str]:
        """Return a line for each finding, and one for the fields that were ignored; [] where nothing was unusual."""
        told = [finding.format(self.rows) for finding in self.findings.values()]
        if count := len(self.ignored):
            names = ", ".join(map(_text, [*self.ignored][:SHOWN])) + " …" * (count > SHOWN)
            read = f"which the model does not read, {_were(count)} ignored"
            told.append(f"{count:,} {noun}{'s' * (count > 1)}, {read}: {names}")
        return told

    def to_json(self) -> dict[str, Any]:
        """Return the counts: {"unusual": one object for each finding, "ignored": field → rows}."""
        return {"unusual": [vars(finding) for finding in self.findings.values()], "ignored": dict(self.ignored)}


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _text(value: Any) -> str:
    """Return a value on one line, shortened, without what steers a terminal."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return "".join(sign if sign.isprintable() else "?" for sign in text[:MAX_LENGTH]) + "…" * (len(text) > MAX_LENGTH)
