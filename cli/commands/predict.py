"""`evergreen predict`: predict the rows of a file with the released model."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline
from evergreen.core.progress import console_progress

MAX_NOTES = 20  # lines about columns that were unusual


def predict(
    name: PipelineName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .csv, .tsv or .parquet file, or a folder of .parquet files.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="Where to write, as .csv or .parquet.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write texts to .csv as they are, also what a spreadsheet would run.")
    ] = False,
    on_error: Annotated[
        Literal["stop", "skip"],
        typer.Option("--on-error", help="At a row that cannot be answered: stop, or skip it and write it beside."),
    ] = "stop",
    coverage: Annotated[
        float,
        typer.Option(
            "--coverage", metavar="SHARE", min=0, max=0.9999, help="Share of rows for which answers are to hold."
        ),
    ] = 0.0,
) -> CommandResult:
    """Predict the rows of a file with the released model.

    The output holds the input's columns and `prediction`; for classes also one column `p_<class>` each. Where the input
    has a column of such a name, those of the answers begin with `answer_`. The target may be among the columns, and so
    may others; they are not read. A forecast is made for each row that has enough known rows before it, and for the
    rows at the end whose target is empty.

    At the end it says what was unusual: values that no training row had or that lie outside their range, missing values
    that were filled, columns that were ignored.

    A row that the model cannot take ends the whole call: the message names its line, and nothing is written. With
    `--on-error skip` such rows are written to OUTPUT.rejected.csv, each with its reason, and the others are answered.

    With `--coverage 0.9` an answer is as wide as holds for nine rows in ten, by the release's answers to its test rows:
    `low` and `high` of a number or a forecast, the `set` of classes.

    In a .csv file, a text that a spreadsheet would run as a formula begins with an apostrophe; a .parquet file holds
    every text as it is.
    """
    from evergreen.stages.predict import batch

    _, paths = open_pipeline(name)
    with console_progress() as progress:
        value = batch.predict(paths, file, output, progress, raw=raw, on_error=on_error, coverage=coverage)
    return CommandResult(value, format_predictions(value))


def format_predictions(value: dict[str, Any]) -> str:
    """Format what was predicted, and what was unusual about it, a line each."""
    lines = [f"{value['rows']:,} rows predicted by {value['pipeline']} {value['version']}: {value['output']}"]
    if rejected := value["rejected"]:
        lines.append(f"{rejected:,} rows could not be answered; why: {value['rejected_file']}")
    if unanswered := value["unanswered"]:
        lines.append(f"{unanswered:,} rows have no prediction, for too few known rows come before them")
    if "prediction" not in value["answers"]:
        lines.append(f"the answers are in {', '.join(value['answers'])}, for the file has a column of such a name")
    notes = value["notes"]
    lines += notes[:MAX_NOTES]
    if len(notes) > MAX_NOTES:
        lines.append(f"{len(notes) - MAX_NOTES:,} more such columns: --json lists them")
    if changed := value["neutralised"]:
        lines.append(
            f"{changed:,} cells that a spreadsheet would run as formulas begin with an apostrophe; --raw keeps them"
        )
    return "\n".join(lines)
