"""Hold what a check found, and format findings for people."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The state of one thing, in one line, and how to mend it."""

    what: str
    state: str  # ok | warn | fail
    text: str
    fix: str = ""


def format_findings(findings: Sequence[Finding]) -> str:
    """Format a line per finding, with the fix of what is not right."""
    return "\n".join(
        f"{one.state:<5}{one.what:<12}{one.text}" + (f"; {one.fix}" if one.fix and one.state != "ok" else "")
        for one in findings
    )
