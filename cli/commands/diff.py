"""`evergreen diff`: what differs between two versions."""

import json
from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def diff(
    name: PipelineName,
    before: Annotated[str, typer.Argument(metavar="VERSION", help="The version before, like v1.0.0.")],
    after: Annotated[str, typer.Argument(metavar="VERSION", help="The version after.")],
) -> CommandResult:
    """Compare two versions: settings, data, schema, code, scores."""
    from evergreen.cli.commands.logs import find_paths
    from evergreen.flows.version_diff import compare_versions
    from evergreen.stages.engines import versions

    paths = find_paths(name)
    versions.prepare(paths.root)
    value = compare_versions(paths, before, after)
    lines = [f"{name} {before} → {after}"]
    for section, changes in value["changes"].items():
        lines += [section, *(f"  {key}: {_show(old)} → {_show(new)}" for key, (old, new) in changes.items())]
    lines += [] if value["changes"] else ["nothing differs"]
    return CommandResult(
        {"pipeline": name, "before": before, "after": after, **value}, "\n".join(lines + value["notes"])
    )


def _show(value: Any) -> str:
    """Format one side of a change on a line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
