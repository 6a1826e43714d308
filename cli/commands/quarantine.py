"""`evergreen quarantine`: the quarantined rows by reason, and another try after something was mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline
from evergreen.core.errors import PipelineError

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.stages.pipeline import Pipeline

EXAMPLES_PER_REASON = 3
MAX_VALUE_CHARACTERS = 100


def quarantine(
    name: PipelineName,
    replay: Annotated[
        bool, typer.Option("--replay", help="Try again after a rule, a file or a reader was corrected.")
    ] = False,
) -> CommandResult:
    """Show the quarantined rows by reason, with examples.

    Where a run was stopped because too many rows were invalid, it shows those rows. With --replay it reads the files
    with unreadable rows again, checks every row by the rules as they are now, and shows the difference.
    """
    pipeline, paths = open_pipeline(name)
    if replay:
        return _replay(pipeline, paths)
    value = read_quarantine(paths)
    return CommandResult(value, _format_quarantine(value))


def read_quarantine(paths: Paths) -> dict[str, Any]:
    """Count the quarantined rows by reason, with examples; those of the last run, also where it was stopped."""
    from evergreen.core.files import read_json
    from evergreen.data import prepared
    from evergreen.data.prepare.invalid_rows import examples_by_reason

    stopped = paths.rejected / "why.json"
    folder = paths.rejected if stopped.is_file() else paths.ready
    if not (folder / prepared.QUARANTINED).is_dir():
        fix = f"prepare them with: evergreen run {paths.name}"
        raise PipelineError(f"no rows of {paths.name} are prepared yet", fix=fix)
    shown = examples_by_reason(
        (unit.read() for unit in prepared.row_groups(folder, prepared.QUARANTINED)), EXAMPLES_PER_REASON
    )
    if folder == paths.rejected:
        why = read_json(stopped)
        counts, rows = why["reasons"], why["rows"]
    else:
        summary, why = read_json(paths.ready / "summary.json"), {}
        counts = summary["quarantined"]["reasons"]
        rows = sum(summary["rows"].values()) + summary["quarantined"]["rows"]
    reasons = [{"reason": reason, "rows": count, "examples": shown.get(reason, [])} for reason, count in counts.items()]
    value = {"pipeline": paths.name, "quarantined": sum(counts.values()), "rows": rows, "stopped": why.get("why")}
    reasons.sort(key=lambda one: -one["rows"])
    return value | {"reasons": reasons, "files": str(folder / prepared.QUARANTINED)}


def _format_quarantine(value: dict[str, Any]) -> str:
    fraction = value["quarantined"] / max(value["rows"], 1)
    lines = [
        f"{value['pipeline']}: {value['quarantined']:,} of {value['rows']:,} rows are quarantined ({fraction:.1%})"
    ]
    if value["stopped"]:
        lines.append(f"  the last run stopped here: {value['stopped'].partition(': ')[0]}")  # the reasons follow
    for reason in value["reasons"]:
        lines.append(f"\n{reason['rows']:>9,}  {reason['reason']}")
        wide = max((len(row["origin"]) for row in reason["examples"]), default=0)
        lines += [f"{'':11}{row['origin']:<{wide}}  {_shorten(row['value'])}".rstrip() for row in reason["examples"]]
    if value["reasons"]:
        lines.append(f"\n  all of them  {value['files']}")
        lines.append(f"  when fixed   evergreen quarantine {value['pipeline']} --replay")
    return "\n".join(lines)


def _shorten(value: str) -> str:
    text = " ".join(value.split())
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}…"


def _replay(pipeline: Pipeline, paths: Paths) -> CommandResult:
    """Read again what could not be read, check every row again, and show what became of the quarantined ones."""
    from evergreen.core.processes import exclusive_lock
    from evergreen.core.progress import console_progress
    from evergreen.stages.engines import versions
    from evergreen.stages.pipeline import perform

    before = read_quarantine(paths)
    with exclusive_lock(paths.run_lock, f"{paths.name} is already running"), console_progress() as progress:
        for stage, more in (("collect", {"faulty": True}), ("preprocess", {})):
            perform(stage, pipeline, paths, progress, **more)
            versions.commit(paths, stage)
    after = read_quarantine(paths)
    counts = {one["reason"]: [one["rows"], 0] for one in before["reasons"]}
    for counted in after["reasons"]:
        counts.setdefault(counted["reason"], [0, 0])[1] = counted["rows"]
    value = {"pipeline": paths.name, "before": before["quarantined"], "after": after["quarantined"], "reasons": counts}
    value |= {"prepared": after["rows"] - after["quarantined"]}
    lines = [
        f"{paths.name}: {before['quarantined']:,} rows were quarantined, {after['quarantined']:,} are now, and "
        f"{value['prepared']:,} are prepared"
    ]
    lines += [f"{was:>9,} → {now:<9,}  {reason}" for reason, (was, now) in counts.items()]
    lines.append(f"  next         evergreen run {paths.name}")
    return CommandResult(value, "\n".join(lines))
