"""Say what is wrong, where, and what to do about it: the errors that a person can mend."""

import difflib
from collections.abc import Iterable

from evergreen.core.redaction import redact

MAX_SUGGESTIONS = 20  # words that a hint lists


class UserError(ValueError):
    """Report a mistake or an obstacle that a person can mend; never a bug.

    `problem` says what is wrong, `place` where (a file with its line, a column, an address), `fix` what to do; secrets
    in them are masked.
    """

    def __init__(self, problem: str, *, place: str = "", fix: str = "") -> None:
        self.problem, self.place, self.fix = map(redact, (problem, place, fix))
        where = f"{self.place}: " if place else ""
        super().__init__("; ".join(part for part in (f"{where}{self.problem}", self.fix) if part))


class PipelineError(UserError):
    """Report a mistake in a pipeline's YAML, a command or the state of the project."""


class BusyError(PipelineError):
    """Report that another process does the same at this moment."""


class DataError(UserError):
    """Report a mistake in the data, never in the program."""


class ModelError(UserError):
    """Report a network that cannot be built or used as it was asked for."""


class VersionError(UserError):
    """Report a version that cannot be recorded, found or fetched."""


class OutageError(UserError, ConnectionError):
    """Report an engine that died or does not answer: nobody's mistake, and trying again may help."""


def suggest(word: str, known: Iterable[str], what: str = "known") -> str:
    """Return the hint for a word that is not among the `known` ones: the nearest right word, or a list of them."""
    words = list(known)
    if not words:
        return f"{what}: none"
    if near := find_nearest(word, words):
        return f"did you mean {near!r}?"
    return f"{what}: {', '.join(words[:MAX_SUGGESTIONS])}" + (", …" if len(words) > MAX_SUGGESTIONS else "")


def find_nearest(word: str, known: Iterable[str]) -> str:
    """Return the one of the `known` words that is meant by a misspelt one; "" where none is near."""
    lowered = {name.lower(): name for name in reversed(list(known))}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return lowered[near[0]] if near else ""
