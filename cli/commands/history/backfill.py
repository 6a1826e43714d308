"""`evergreen backfill`: run a pipeline as if it had run at moments of the past."""

from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline

First = Annotated[str, typer.Option("--from", metavar="TIME", help="The first moment: 2025-01, 2025-01-31.")]
Last = Annotated[str, typer.Option("--to", metavar="TIME", help="The last moment.")]
Every = Annotated[str, typer.Option("--every", metavar="STEP", help="day, week, month, quarter, year, or 10d.")]
TimeColumn = Annotated[
    str, typer.Option("--time", metavar="COLUMN", help="When a row was; by default what splits or is collected by.")
]
Delay = Annotated[
    str, typer.Option("--labels-after", metavar="DURATION", help="So much later is known what is true of a row: 30d.")
]
Known = Annotated[str, typer.Option("--known", metavar="COLUMN", help="When it was known what is true of a row.")]
Parallel = Annotated[int, typer.Option("--parallel", metavar="N", min=1, max=1000, help="Moments side by side.")]


def backfill(
    name: PipelineName,
    first: First,
    last: Last,
    every: Every = "month",
    time: TimeColumn = "",
    delay: Delay = "",
    known: Known = "",
    parallel: Parallel = 1,
) -> CommandResult:
    """Run a pipeline as if it had run then, and judge it since.

    At each moment it learns from the collected rows before; those until the next one say how good it is, and each
    version before it. Nothing is released. What is done is kept: the same line again goes on where it was.
    """
    return show_past(name, (first, last, every), column=time, delay=delay, known=known, n_parallel=parallel)


def show_past(name: str, span: tuple[str, str, str], schedule: str = "", **options: Any) -> CommandResult:
    """Bring the runs of the past up to date; tell them and the policies, and draw the page."""
    from evergreen.core.progress import console_progress
    from evergreen.flows import past_runs
    from evergreen.flows.policies import compare_policies

    pipeline, paths = open_pipeline(name)
    with console_progress() as progress:
        results = past_runs.backfill(pipeline, paths, span, progress=progress, **options)
    policies = compare_policies(results, schedule or pipeline.operation.schedule, pipeline.operation.time_zone)
    page = past_runs.draw(paths, results, policies)
    lines = [f"{one['moment']}  {past_runs.describe_result(one)}" for one in results]
    lines += [_format_policy(one) for one in policies]
    value = {"pipeline": name, "moments": results, "policies": policies, "page": page}
    return CommandResult(value, "\n".join([*lines, f"page: {page}"]))


def _format_policy(policy: dict[str, Any]) -> str:
    score, times = f"{policy['metric']} {policy['score']:.4g}", policy["trainings"]
    cost = f"{policy['core_seconds']:,.0f} core-seconds in {times} training{'s' * (times != 1)}"
    return f"{policy['policy']:<12}{score}, {cost}"
