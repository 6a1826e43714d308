"""`evergreen predict`: predict the rows of a file with the released model."""

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
    raw: Annotated[
        bool, typer.Option("--raw", help="Write texts to .csv as they are, also what a spreadsheet would run.")
    ] = False,
) -> CommandResult:
    """Predict the rows of a file with the released model.

    The output holds the input's columns and `prediction`; for classes also one column `p_<class>` each. A row that the
    model cannot take ends the whole call: the message names its line, and nothing is written. The target may be among
    the columns; it is not read. A forecast is made for each row that has enough known rows before it, and for the rows
    at the end whose target is empty.

    In a .csv file, a text that a spreadsheet would run as a formula begins with an apostrophe; a .parquet file holds
    every text as it is.
    """
    from evergreen.stages.predict import batch

    _, paths = open_pipeline(name)
    with console_progress() as progress:
        value = batch.predict(paths, file, output, progress, raw=raw)
    text = f"{value['rows']:,} rows predicted by {value['pipeline']} {value['version']}: {value['output']}"
    if changed := value["neutralised"]:
        text += (
            f"\n{changed:,} cells that a spreadsheet would run as formulas begin with an apostrophe; --raw keeps them"
        )
    return CommandResult(value, text)
