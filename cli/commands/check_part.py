"""`evergreen check-part`: the tests of Evergreen's own parts, on one file of a project."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult


def check_part(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="models/architectures/NAME.py, or another part.")],
    on: Annotated[
        str,
        typer.Option(
            "--on", metavar="SAMPLE", help="Data to check it on: NAME:… for a source, FILE#COLUMN for a kind."
        ),
    ] = "",
) -> CommandResult:
    """Check that a part keeps its contract.

    A part is an architecture, a task, a kind or a source. It is tested as Evergreen's own parts are. The exit status is
    1 where a test fails.
    """
    from evergreen.stages.checking.part import check_part as check

    findings = list(check(file, on))
    lines = [
        f"FAIL {finding.check}: {finding.problem}"
        if finding.problem
        else f"ok   {finding.check}" + f" ({finding.cases})" * (finding.cases > 1)
        for finding in findings
    ]
    failed = any(finding.problem for finding in findings)
    return CommandResult(
        {"ok": not failed, "findings": [asdict(finding) for finding in findings]}, "\n".join(lines), int(failed)
    )
