"""`evergreen install`: what keeps a project running on a machine, written as files."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.core.errors import PipelineError


def install(
    systemd: Annotated[bool, typer.Option("--systemd", help="Write units of systemd: serve, watch.")] = False,
    docker: Annotated[bool, typer.Option("--docker", help="Write an entry for Docker Compose.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Units of the machine, by root; else the user's.")] = False,
    to: Annotated[Path | None, typer.Option("--to", metavar="FOLDER", help="Write the units there.")] = None,
) -> CommandResult:
    """Write services that keep the project served and watched.

    It starts nothing and overwrites nothing. Units of the machine run as who owns the project.
    """
    from evergreen.core.paths import find_root
    from evergreen.stages.engines import service_files

    if not (systemd or docker):
        raise PipelineError("say what to write", fix="evergreen install --systemd, or --docker")
    root = find_root()
    files, starts = [service_files.write_environment(root)], []
    if systemd:
        files += service_files.write_units(root, to and to.resolve(), system=system)
        command, name = "systemctl" if system else "systemctl --user", service_files.service_name(root)
        starts.append(f"start: {command} daemon-reload && {command} enable --now {name}-serve {name}-watch")
        starts += ["after a reboot, before anybody logs in: loginctl enable-linger"] * (not system)
    if docker:
        files.append(service_files.write_compose(root))
        starts.append(f"start: docker compose -f {service_files.COMPOSE} up -d")
    width = max(len(one.path) for one in files) + 2
    lines = [f"{one.path:<{width}}{one.purpose}{'' if one.written else ' (was there)'}" for one in files]
    return CommandResult({"files": [asdict(one) for one in files]}, "\n".join([*lines, *starts]))
