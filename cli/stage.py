"""Run one DVC stage of one pipeline alone, in this process and without Prefect: the command that dvc.yaml names."""

from __future__ import annotations

from argparse import Namespace

from evergreen.cli.output import Answer


def stage(given: Namespace) -> Answer:
    from evergreen.core.errors import PipelineError, suggest
    from evergreen.core.paths import Paths, find_root
    from evergreen.core.progress import console_progress
    from evergreen.stages import pipeline as pipelines

    if given.stage not in pipelines.STAGES:
        fix = suggest(given.stage, list(pipelines.STAGES), "stages")
        raise PipelineError(f"{given.stage!r} is not a stage", fix=fix)
    root = find_root()
    pipeline = pipelines.read(given.name, root)
    with console_progress() as progress:
        found = pipelines.perform(given.stage, pipeline, Paths(root, pipeline.name), progress)
    return Answer({"pipeline": pipeline.name, "stage": given.stage, **found}, "")
