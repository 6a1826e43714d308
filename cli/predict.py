"""`evergreen predict`: predict the rows of a file with the released model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline
from evergreen.core.progress import console_progress


def predict(
    name: PipelineName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .csv, .tsv or .parquet file, or a folder of .parquet files.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="Where to write, as .csv or .parquet.")],
) -> CommandResult:
    """Predict the rows of a file with the released model.

    The output holds the input's columns and `prediction`; for classes also one column `p_<class>` each. A row that the
    model cannot take ends the whole call: the message names its line, and nothing is written. The target may be among
    the columns; it is not read. A forecast is made for each row that has enough known rows before it, and for the rows
    at the end whose target is empty.
    """
    from evergreen.stages.predict import batch

    _, paths = open_pipeline(name)
    with console_progress() as progress:
        value = batch.predict(paths, file, output, progress)
    text = f"{value['rows']:,} rows predicted by {value['pipeline']} {value['version']}: {value['output']}"
    return CommandResult(value, text)
