"""`evergreen stage`: one stage of one pipeline alone, in this process and without Prefect; dvc.yaml calls it."""

from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName
from evergreen.core.errors import PipelineError, suggest
from evergreen.core.paths import Paths, find_root
from evergreen.core.progress import console_progress


def stage(
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help="One of collect, preprocess, select, tune, train, validate, report.")
    ],
    name: PipelineName,
) -> CommandResult:
    """Run one stage of one pipeline alone, as DVC does."""
    from evergreen.stages import pipeline as pipelines
    from evergreen.stages.engines import versions

    if stage not in ("versions", *pipelines.STAGES):
        raise PipelineError(f"there is no stage {stage!r}", fix=suggest(stage, pipelines.STAGES, "stages"))
    root = find_root()
    pipeline = pipelines.read(name, root)
    paths = Paths(root, pipeline.name)
    if stage == "versions":
        versions.register_pipeline(paths)
        versions.write_code_versions(pipeline, paths)
        return CommandResult({"pipeline": name, "stage": stage}, "")
    with console_progress() as progress:
        result = pipelines.perform(stage, pipeline, paths, progress)
    return CommandResult({"pipeline": name, "stage": stage, **result}, "")
