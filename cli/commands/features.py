"""`evergreen features`: what the released network makes of rows, for other programs to learn from."""

from pathlib import Path
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline
from evergreen.core.progress import console_progress


def features(
    name: PipelineName,
    source: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="Rows to use instead of the pipeline's own.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="A .parquet file; default: NAME-features.parquet.")
    ] = None,
) -> CommandResult:
    """Write the features that the released network computes.

    The columns feature_0, feature_1 … are what the network's head sees. Beside them stand `target`, `split` and `_id`
    for the pipeline's own rows; for the rows of a file, `_origin` and, where there is one, the target. Before the first
    release the candidate computes them.
    """
    from evergreen.stages.predict import extract_features

    _, paths = open_pipeline(name)
    output = output or Path(f"{name}-features.parquet")
    with console_progress() as progress:
        value = extract_features.extract_features(paths, source, output, progress)
    text = "{rows:,} rows, {features:,} features each, by {pipeline} {version}: {output}".format(**value)
    return CommandResult(value, text)
