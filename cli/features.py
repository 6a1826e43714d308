"""`evergreen features`: what the released network makes of rows, for other programs to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline
from evergreen.core.progress import console_progress


def features(
    name: PipelineName,
    source: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="Rows to take instead of the pipeline's own.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="A .parquet file; default: NAME-features.parquet.")
    ] = None,
) -> CommandResult:
    """Write what the released network makes of rows, as Parquet.

    Columns feature_0, feature_1 …: what the network's head sees. Beside them `target`, `split` and `_id` of the
    pipeline's own rows, or the target, where there is one, and `_origin` of the rows of a file. Before the first
    release it is the candidate's features.
    """
    from evergreen.stages.predict import extract_features

    _, paths = open_pipeline(name)
    output = output or Path(f"{name}-features.parquet")
    with console_progress() as progress:
        value = extract_features.extract_features(paths, source, output, progress)
    text = "{rows:,} rows, {features:,} features each, by {pipeline} {version}: {output}".format(**value)
    return CommandResult(value, text)
