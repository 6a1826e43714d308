"""`evergreen serve`: the endpoint of every released version."""

from evergreen.cli.output import CommandResult


def serve() -> CommandResult:
    """Serve every released pipeline at one address."""
    from evergreen.core.paths import find_root
    from evergreen.core.progress import console_progress
    from evergreen.flows.serving import deploy_released
    from evergreen.stages.engines import versions

    root = find_root()
    versions.prepare(root)
    with console_progress() as progress:
        value = deploy_released(root, progress)
    moved = f" (port {value['moved_from']} is taken)" if value.get("moved_from") else ""
    lines = [
        f"the endpoint is up: {value['url']}/docs{moved}",
        *(f"  POST {value['url']}/{name}/predict  {version}" for name, version in value["pipelines"].items()),
        *(f"  not served: {problem}" for problem in value["failures"].values()),
        "  stop: evergreen stop",
    ]
    return CommandResult(value, "\n".join(lines), int(bool(value["failures"])))
