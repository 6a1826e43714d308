"""`evergreen doctor`: what is missing or cannot work here, and the fix. Each check yields findings."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from evergreen.cli.machine_checks import check_gpu, check_packages, check_ports, check_python, check_resources
from evergreen.cli.output import CommandResult
from evergreen.core.diagnosis import Finding, format_findings
from evergreen.core.errors import PipelineError, UserError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths, find_root
from evergreen.core.processes import lock_owner


def doctor() -> CommandResult:
    """Check what is missing or cannot work here; say how to mend it.

    It works anywhere. In a project it also checks git, DVC, the cluster, what is running, and each pipeline's YAML. The
    exit status is 1 when something cannot work.
    """
    working_dir = Path.cwd()
    findings = [*check_python(), *check_packages(), *check_resources(working_dir), *check_ports(), *check_gpu()]
    try:
        root = find_root()
    except PipelineError:
        findings += [
            *check_git(working_dir),
            Finding("project", "ok", f"none at or above {working_dir}: evergreen init makes one"),
        ]
    else:
        for check in (check_git, check_state_dir, check_dvc, check_engines, check_cluster, check_pipelines):
            try:
                findings += check(root)
            except (UserError, OSError) as error:
                findings.append(Finding(check.__name__.removeprefix("check_"), "fail", str(error), "mend that first"))
    failed = any(finding.state == "fail" for finding in findings)
    value = {"ok": not failed, "findings": [asdict(finding) for finding in findings]}
    return CommandResult(value, format_findings(findings), int(failed))


def check_git(folder: Path) -> Iterator[Finding]:
    """Check that git is there and who signs releases."""
    if shutil.which("git") is None:
        yield Finding("git", "fail", "git is not installed", "install git: versions are tags")
        return

    def ask(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    if not ask("rev-parse", "--git-dir"):
        state = "fail" if (folder / "pipelines").is_dir() else "ok"
        fix = "git init, then commit: versions are tags"
        yield Finding("git", state, f"{folder} is not in a git repository", fix)
        return
    identity = ask("config", "user.email")
    text = f"releases are signed {identity}" if identity else "no identity is set: releases go under Evergreen's own"
    yield Finding("git", "ok", text)


def check_dvc(root: Path) -> Iterator[Finding]:
    """Check that DVC can read the project."""
    from evergreen.core.redaction import mask
    from evergreen.stages.engines import versions

    config = root / ".dvc" / "config"
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    if mask(text) != text:
        fix = "move it to .dvc/config.local (dvc remote modify --local), and make a new one"
        yield Finding("dvc", "fail", ".dvc/config, which git keeps, holds a secret", fix)
    try:
        released = versions.released(root)
        versions.check_graph(root)
    except (ValueError, OSError) as error:
        yield Finding("dvc", "fail", str(error), getattr(error, "fix", ""))
    else:
        yield Finding("dvc", "ok", f"usable; {len(released)} pipelines released")


def check_state_dir(root: Path) -> Iterator[Finding]:
    """Check that .evergreen can be written and that its path is short enough for Ray's sockets."""
    folder = root / ".evergreen"
    if not os.access(folder if folder.exists() else root, os.W_OK):
        yield Finding(".evergreen", "fail", "cannot be written", f"make {folder} yours: chown")
        return
    from evergreen.stages.engines import ray_node

    fits = ray_node.is_fit(folder / "ray", ray_node.LONGEST_FOLDER)
    text = f"{folder} can be written" + ("" if fits else "; its path does not suit Ray's sockets, they go to /tmp")
    yield Finding(".evergreen", "ok" if fits else "warn", text, "" if fits else "a shorter path keeps them")


def check_engines(root: Path) -> Iterator[Finding]:
    """Look which engines are up, and which pipelines are being run."""
    from evergreen.flows.server import Server
    from evergreen.stages.deploy import stage as deploy
    from evergreen.stages.pipeline import names

    url = Server(root).url
    yield Finding("Prefect", "ok", f"up: {url}" if url else "down; it starts when a run needs it")
    try:
        served = deploy.status(root)
    except (ValueError, OSError) as error:
        yield Finding("endpoint", "warn", f"does not answer ({error})", "evergreen stop, then evergreen serve")
    else:
        yield Finding("endpoint", "ok", f"up: {served['url']}" if served else "down")
    for name in names(root):
        if process := lock_owner(Paths(root, name).run_lock):
            yield Finding("lock", "ok", f"{name} is being run by process {process}")


def check_cluster(root: Path) -> Iterator[Finding]:
    """Check that the cluster of cluster.yaml can be reached; without one, whether Ray is up here."""
    from evergreen.stages.engines import cluster_file, ray_cluster

    try:
        address = cluster_file.read(root).address
    except ValueError as error:
        yield Finding("cluster", "fail", str(error), getattr(error, "fix", ""))
        return
    if not address:
        up = ray_cluster.status(root)["running"]
        yield Finding("cluster", "ok", f"this machine; Ray is {'up' if up else 'down; it starts when a run needs it'}")
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except (OSError, ValueError) as error:
        fix = "start the cluster, or set the address in cluster.yaml as host:port"
        yield Finding("cluster", "fail", f"{address} cannot be reached ({error})", fix)
    else:
        yield Finding("cluster", "ok", f"{address} can be reached")


def check_pipelines(root: Path) -> Iterator[Finding]:
    """Check each pipeline's YAML, and that the records of running processes can be read."""
    from evergreen.stages.pipeline import names, read

    right = 0
    for name in names(root):
        try:
            read(name, root)
            right += 1
        except PipelineError as error:
            problem = f"{error.place}: {error.problem}" if error.place else error.problem
            yield Finding("pipelines", "fail", problem, error.fix)
    state = "ok" if names(root) else "warn"
    yield Finding("pipelines", state, f"{right} of {len(names(root))} can be read", "make one with: evergreen new")
    for record in (root / ".evergreen").glob("*.json"):
        try:
            read_json(record)
        except ValueError as error:
            yield Finding("record", "fail", str(error), f"evergreen stop, then delete {record}")
