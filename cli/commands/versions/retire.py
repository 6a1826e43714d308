"""`evergreen retire`: take a pipeline out of service and out of the lists."""

import sys
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def retire(
    name: PipelineName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> CommandResult:
    """Take a pipeline out of service and out of the lists.

    Its versions stay, and `evergreen rollback` brings it back. Until then `status` names it in one line, and `run`,
    `serve` and `watch` leave it alone. Its YAML, if it still exists, is left as it is.
    """
    from evergreen.core.errors import PipelineError, suggest
    from evergreen.core.paths import Paths, find_root
    from evergreen.core.processes import exclusive_lock
    from evergreen.core.progress import console_progress
    from evergreen.flows.serving import refresh_endpoint
    from evergreen.stages.engines import versions
    from evergreen.stages.pipeline import names

    root = find_root()
    versions.prepare(root)
    released, paths = versions.released(root), Paths(root, name)
    if name not in {*names(root), *released, *versions.retired(root)}:
        raise PipelineError(f"there is no pipeline {name!r}", fix=suggest(name, released, "released"))
    if name in released and not yes:
        if not sys.stdin.isatty():
            raise PipelineError(f"{name} {released[name]} is in service", fix="to take it out of service, add --yes")
        if not typer.confirm(f"Take {name} {released[name]} out of service? Its versions stay.", err=True):
            return CommandResult({"pipeline": name, "served": released}, "nothing was changed", status=1)
    with exclusive_lock(paths.run_lock, f"{name} is already running"), console_progress() as progress:
        version = versions.retire(paths)
        served = refresh_endpoint(root, progress)
    file = paths.pipeline.relative_to(root)
    lines = [
        f"{name} {version} is out of service; its versions stay",
        f"  endpoint {', '.join(served) or 'down'}",
        f"  back     evergreen rollback {name} {version}",
        *([f"  file     {file} may be deleted"] if paths.pipeline.exists() else []),
    ]
    return CommandResult({"pipeline": name, "before": version, "served": served}, "\n".join(lines))
