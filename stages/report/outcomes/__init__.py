"""All answers in one picture. One file is one picture and its name registers it: a task says which is its own.

Each file holds TITLE, the section's heading, and `draw(evidence) -> str`, its HTML.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence


def names() -> list[str]:
    """All pictures: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def outcome(evidence: Evidence) -> tuple[str, str]:
    """The title of the section and its picture; an empty one for a task that names none."""
    name = evidence.candidate.task.PLOT
    if not name:
        return "", ""
    picture = importlib.import_module(f"{__name__}.{name}")
    return picture.TITLE, picture.draw(evidence)
