"""Count what a prediction met that training rows did not have: unseen, outlying, missing values, and extra fields."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.data.field import TensorField
from evergreen.data.kinds import kind_of

MAX_EXAMPLES = 1000  # values of a batch, and different ones of all, of which the commonest is shown
MAX_LENGTH = 40  # characters of a value
MAX_NAME = 200  # characters of a field's name
MAX_NAMES = 10_000  # fields that are counted by name: whoever sends requests may make up more
SHOWN = 5  # names in a sentence


@dataclass
class Finding:
    """Hold how many values of a column are unusual in one way, which they are, and how to find out what is meant."""

    column: str
    what: str  # as `Kind.find_unusual` words it
    suggest: Callable[[str], str]
    values: int = 0
    examples: Counter[str] = field(default_factory=Counter)

    @property
    def example(self) -> str:
        """The commonest of the values; "" where none is held."""
        return next((text for text, _ in self.examples.most_common(1)), "")

    @property
    def hint(self) -> str:
        """The known value that the example may mean, or nothing."""
        return self.suggest(self.example) if self.example else ""

    def format(self, rows: int) -> str:
        """Format the finding as a line."""
        hint = f"; did you mean {near}?" if (near := self.hint) else ""
        shown = f" ({self.example}{' …' * (len(self.examples) > 1)}{hint})" if self.example else ""
        return f"{self.column}: {self.values:,} of {rows:,} values {_were(self.values)} {self.what}{shown}"


class UnusualValues:
    """Count over any number of batches, from any thread, and say it in words."""

    def __init__(self, *, with_examples: bool = True) -> None:
        """Count; without examples no value that somebody sent is held."""
        self.with_examples, self.rows = with_examples, 0
        self.findings: dict[tuple[str, str], Finding] = {}
        self.ignored: Counter[str] = Counter()  # field that the model does not read → rows
        self._lock = threading.Lock()

    def add(self, made: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray) -> None:
        """Count the rows of one field: its checked columns, and what they were encoded to."""
        kind = kind_of(made)
        for place, what, mask in kind.find_unusual(made, columns, encoded):
            name, held = made.columns[place], pa.array(mask)
            values = columns[place].filter(held).slice(0, MAX_EXAMPLES).to_pylist() if self.with_examples else []
            examples = Counter(_text(value) for value in values if value is not None)
            suggest = partial(kind.suggest_value, made, place)
            with self._lock:
                finding = self.findings.setdefault((name, what), Finding(name, what, suggest))
                finding.values += int(np.count_nonzero(mask))
                if len(finding.examples) < MAX_EXAMPLES:
                    finding.examples += examples

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
        names = ("column", "what", "values", "example", "hint")
        unusual = [{name: getattr(finding, name) for name in names} for finding in self.findings.values()]
        return {"unusual": unusual, "ignored": dict(self.ignored)}


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _text(value: Any) -> str:
    """Return a value on one line, shortened, without what steers a terminal."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = f"{value:.6g}" if isinstance(value, float) else getattr(value, "isoformat", value.__str__)()
    return "".join(sign if sign.isprintable() else "?" for sign in text[:MAX_LENGTH]) + "…" * (len(text) > MAX_LENGTH)
