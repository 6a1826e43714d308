"""`evergreen serve`: the endpoint of every released version."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult


def serve(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Listen here from now on, 0.0.0.0 is everywhere.")
    ] = "",
    certificate: Annotated[
        str, typer.Option("--certificate", metavar="FILE", help="Speak TLS there, with this certificate and its chain.")
    ] = "",
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="Its key, if that is in another file.")] = "",
    client_ca: Annotated[
        str, typer.Option("--client-ca", metavar="FILE", help="Let in clients alone whose certificate this one signed.")
    ] = "",
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until the endpoint ends, as systemd and containers want it.")
    ] = False,
) -> CommandResult:
    """Serve every released pipeline at one address.

    By default it listens on 127.0.0.1 alone. Elsewhere it wants API keys (`evergreen keys`), and should speak TLS.
    """
    from evergreen.core.errors import PipelineError
    from evergreen.core.paths import find_root
    from evergreen.core.progress import console_progress
    from evergreen.flows.serving import deploy_released, wait_for_end
    from evergreen.stages.engines import versions
    from evergreen.stages.engines.listening import choose_host

    root = find_root()
    if (key or client_ca) and not certificate:
        raise PipelineError("a key and a CA need a certificate", place="--certificate", fix="give its file")
    if host or certificate:
        choose_host(root, host, certificate, key, client_ca)
    versions.prepare(root)
    with console_progress() as progress:
        value = deploy_released(root, progress)
    lines = _describe(value)
    text, status = "\n".join(lines), int(bool(value["failures"]))
    if foreground:
        print(text, flush=True)
        wait_for_end(root)
        text, status = "the endpoint has ended", 1
    return CommandResult(value, text, status)


def _describe(value: Mapping[str, Any]) -> list[str]:
    """Return what a person reads of the endpoint that is up, line by line."""
    from evergreen.stages.engines.listening import HOST

    moved = f" (port {value['moved_from']} is taken)" if value.get("moved_from") else ""
    return [
        f"the endpoint is up: {value['url']}/docs{moved}",
        *(f"  POST {value['url']}/{name}/predict  {version}" for name, version in value["pipelines"].items()),
        *(f"  not served: {problem}" for problem in value["failures"].values()),
        f"  listens on {value['host']}"
        + " alone" * (value["host"] == HOST)
        + "; ask with an API key" * value["needs_key"],
        *([f"  TLS: {value['tls']}"] if value.get("tls") else []),
        *([f"  gRPC: {value['grpc']}"] if value.get("grpc") else []),
        "  stop: evergreen stop",
    ]
