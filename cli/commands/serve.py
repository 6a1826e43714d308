"""`evergreen serve`: the endpoint of every released version."""

from typing import Annotated

import typer

from evergreen.cli.output import CommandResult


def serve(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Listen here from now on, 0.0.0.0 is everywhere.")
    ] = "",
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until the endpoint ends, as systemd and containers want it.")
    ] = False,
) -> CommandResult:
    """Serve every released pipeline at one address.

    By default it listens on 127.0.0.1 alone. Elsewhere it wants API keys (`evergreen keys`); there is no TLS.
    """
    from evergreen.core.paths import find_root
    from evergreen.core.progress import console_progress
    from evergreen.flows.serving import deploy_released, wait_for_end
    from evergreen.stages.engines import versions
    from evergreen.stages.engines.haproxy import HOST, choose_host

    root = find_root()
    if host:
        choose_host(root, host)
    versions.prepare(root)
    with console_progress() as progress:
        value = deploy_released(root, progress)
    moved = f" (port {value['moved_from']} is taken)" if value.get("moved_from") else ""
    lines = [
        f"the endpoint is up: {value['url']}/docs{moved}",
        *(f"  POST {value['url']}/{name}/predict  {version}" for name, version in value["pipelines"].items()),
        *(f"  not served: {problem}" for problem in value["failures"].values()),
        f"  listens on {value['host']}"
        + " alone" * (value["host"] == HOST)
        + "; ask with an API key" * value["needs_key"],
        *([f"  gRPC: {value['grpc']}"] if value.get("grpc") else []),
        "  stop: evergreen stop",
    ]
    text, status = "\n".join(lines), int(bool(value["failures"]))
    if foreground:
        print(text, flush=True)
        wait_for_end(root)
        text, status = "the endpoint has ended", 1
    return CommandResult(value, text, status)
