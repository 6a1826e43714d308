"""Write what keeps a project running on a machine: units of systemd, or an entry for Docker Compose."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import sys
from pathlib import Path

from evergreen.core.errors import PipelineError
from evergreen.core.files import atomic_write, make_private
from evergreen.stages.engines.git_commits import git
from evergreen.stages.engines.project import ProjectFile

SECRETS = ".evergreen/environment"
COMPOSE = "compose.evergreen.yaml"
COMMANDS = {  # of a unit → what it does
    "serve": "the endpoint of every released version; it answers again where it died",
    "watch": "schedules, monitors, canaries and housekeeping",
}
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]|^\s|[\s\\]$")  # what a line of a unit cannot hold
ENVIRONMENT = """\
# NAME=value, a line each, for what pipelines and notify.yaml name as ${NAME}. Only its owner may read this file.
"""
# Left out, since Ray or the network need it: PrivateTmp (units share sockets), MemoryDenyWriteExecute (kernels are
# compiled), PrivateDevices (GPUs), ProcSubset and ProtectProc (Ray watches its workers), SystemCallFilter.
UNIT = """\
# Written by `evergreen install --systemd` and yours from then on: it is not overwritten.
[Unit]
Description=Evergreen {command}: {described}
StartLimitIntervalSec=0
{after}
[Service]
Type=exec
{user}WorkingDirectory={folder}
EnvironmentFile=-{folder}/{secrets}
Environment=PYTHONUNBUFFERED=1
ExecStart={program} {arguments}
Restart=always
RestartSec=30
SuccessExitStatus=130 143
TimeoutStopSec=120

# A worker that needs too much memory ends, and the others go on.
MemoryMax=95%
OOMPolicy=continue
LimitNOFILE=65536
TasksMax=16384

UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
{hardening}
[Install]
WantedBy={target}
"""
HARDENING = """\
CapabilityBoundingSet=
ProtectSystem=full
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
"""
SERVICES = """\
# Written by `evergreen install --docker` and yours from then on: it is not overwritten. `make image` builds the image.
name: {name}
services:
  evergreen:
    image: ${{EVERGREEN_IMAGE:-evergreen}}
    command:
      - sh
      - -c
      - while :; do evergreen serve --foreground; sleep 30; done & exec evergreen watch
    user: "{user}"
    working_dir: {folder}
    volumes:
      - {{type: bind, source: {source}, target: /project}}
    env_file:
      - {{path: {secrets}, required: false}}
    environment: {{HOME: {home}, USER: evergreen}}
    network_mode: host  # it listens on loopback alone, as without a container
    restart: unless-stopped
    stop_grace_period: 2m
    shm_size: 4gb  # Ray's workers share memory
    pids_limit: 16384
    ulimits: {{nofile: 65536}}
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
"""


def write_environment(root: Path) -> ProjectFile:
    """Write the file of secrets that services get, which its owner alone may read."""
    make_private(root / ".evergreen")
    return _write(root.resolve() / SECRETS, ENVIRONMENT, "secrets of the services, NAME=value a line", mode=0o600)


def write_units(root: Path, folder: Path | None = None, *, system: bool = False) -> list[ProjectFile]:
    """Write a unit for each of COMMANDS into `folder`, by default where systemd reads those of the user or system.

    Raises PipelineError for a path that a unit cannot hold.
    """
    root, name = root.resolve(), service_name(root)
    folder = folder or (Path("/etc/systemd/system") if system else _config_home() / "systemd" / "user")
    files = []
    for command, purpose in COMMANDS.items():
        after = ["network-online.target"] * system + [f"{name}-serve.service"] * (command == "watch")
        text = UNIT.format(
            command=command,
            described=_escape(str(root)),
            after="".join(f"After={one}\n" for one in after) + "Wants=network-online.target\n" * system,
            user=f"User={_owner(root)}\n" * system,
            folder=_escape(str(root)),
            secrets=SECRETS,
            program=f"{_quote(sys.executable)} -P -m evergreen.cli.main",
            arguments=f"{command} --foreground" if command == "serve" else command,
            hardening=HARDENING * system,
            target="multi-user.target" if system else "default.target",
        )
        files.append(_write(folder / f"{name}-{command}.service", text, purpose))
    return files


def write_compose(root: Path) -> ProjectFile:
    """Write an entry for Docker Compose beside the project's files; it runs the image of docker/."""
    root = root.resolve()
    make_private(root / ".evergreen" / "home")
    top = Path(git(root, "rev-parse", "--show-toplevel").rstrip("\n"))
    owner, inside = root.stat(), Path("/project", root.relative_to(top))
    text = SERVICES.format(
        name=service_name(root),
        user=f"{owner.st_uid}:{owner.st_gid}",
        folder=json.dumps(str(inside), ensure_ascii=False).replace("$", "$$"),
        source=os.path.relpath(top, root),
        secrets=SECRETS,
        home=json.dumps(str(inside / ".evergreen" / "home"), ensure_ascii=False).replace("$", "$$"),
    )
    return _write(root / COMPOSE, text, "the endpoint and `evergreen watch` in a container")


def service_name(root: Path) -> str:
    """Return a name for the services of a project that no other project of the machine has."""
    words = re.sub(r"[^a-z0-9]+", "-", root.resolve().name.lower()).strip("-")
    path = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=3).hexdigest()
    return "-".join(filter(None, ["evergreen", words, path]))


def _write(path: Path, text: str, purpose: str, mode: int = 0o644) -> ProjectFile:
    if missing := not os.path.lexists(path):
        with atomic_write(path) as temporary:
            temporary.touch(mode)
            temporary.write_text(text, encoding="utf-8")
    return ProjectFile(str(path), purpose, missing)


def _escape(text: str) -> str:
    """Return a text as a unit takes it, where % begins a name of systemd's. Raises PipelineError where none can."""
    if UNPRINTABLE.search(text):
        fix = "rename the folder: no line breaks, bytes beyond UTF-8, or space at an end"
        raise PipelineError("a unit of systemd cannot hold this path", place=ascii(text), fix=fix)
    return text.replace("%", "%%")


def _quote(word: str) -> str:
    """Return a word of a command line of a unit."""
    escaped = _escape(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _owner(root: Path) -> str:
    """Return who owns the project: root installs, and the owner runs."""
    try:
        return pwd.getpwuid(root.stat().st_uid).pw_name
    except KeyError:
        return str(root.stat().st_uid)
