"""Define the parameters that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evergreen.core.errors import PipelineError
from evergreen.core.paths import find_root


def complete_pipeline(incomplete: str) -> list[str]:
    """List the pipelines whose names begin so, for the shell; none outside a project."""
    try:
        folder: Path = find_root() / "pipelines"
    except PipelineError:
        return []
    return sorted(path.stem for path in folder.glob(f"{incomplete}*.yaml"))


PipelineName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a pipeline.", autocompletion=complete_pipeline)
]
AnyPipelineName = Annotated[
    str, typer.Argument(metavar="[NAME]", help="Name of a pipeline.", autocompletion=complete_pipeline)
]
