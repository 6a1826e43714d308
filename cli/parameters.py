"""Define the parameters that several commands take, and open the pipeline that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths, find_root

if TYPE_CHECKING:
    from evergreen.stages.pipeline import Pipeline


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


def open_pipeline(name: str) -> tuple[Pipeline, Paths]:
    """Read a pipeline of the project around the working directory, and make the project's engines ready.

    Raises:
        PipelineError: there is no such project or pipeline, or a mistake in its YAML.
    """
    from evergreen.stages.engines import versions
    from evergreen.stages.pipeline import read

    root = find_root()
    pipeline = read(name, root)
    versions.prepare(root)
    return pipeline, Paths(root, pipeline.name)
