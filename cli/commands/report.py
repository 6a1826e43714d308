"""`evergreen report`: where a pipeline's report lies."""

from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline


def report(
    name: PipelineName,
    data: Annotated[bool, typer.Option("--data", help="The page about its data instead of its model.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> CommandResult:
    """Print where a pipeline's report lies, or open it."""
    from evergreen.core.errors import PipelineError

    _, paths = open_pipeline(name)
    page = (paths.described if data else paths.report) / "report.html"
    if not page.is_file():
        raise PipelineError(f"{name} has no report yet", fix=f"make one with: evergreen run {name}")
    if open_page:
        import webbrowser

        webbrowser.open(page.as_uri())
    return CommandResult({"pipeline": name, "report": str(page)}, str(page))
