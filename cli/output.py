"""Hold what a command has to say: a value for programs, a text for people, an exit status for shells."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CommandResult:
    """The result of one command; `main` prints its text, or its value as JSON."""

    value: dict[str, Any]
    text: str
    status: int = 0
