"""`evergreen doctor`: what is missing or cannot work here, and the fix. Each check is a generator of findings."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from evergreen.cli.output import Answer
from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths, find_root
from evergreen.core.processes import lock_owner
from evergreen.flows import format
from evergreen.stages.pipeline import names, read

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    what: str
    state: str  # ok | warn | fail
    text: str
    fix: str = ""


def doctor(given: Namespace) -> Answer:
    """All findings; status 1 when something cannot work."""
    root = find_root()
    checks = (python, packages, git, dvc, room, home, ports, engines, cluster, gpu, pipelines)
    findings = [finding for check in checks for finding in check(root)]
    failed = any(finding.state == "fail" for finding in findings)
    lines = [
        f"{one.state:<5}{one.what:<12}{one.text}" + (f"; {one.fix}" if one.fix and one.state != "ok" else "")
        for one in findings
    ]
    return Answer({"ok": not failed, "findings": [asdict(one) for one in findings]}, "\n".join(lines), int(failed))


def python(root: Path) -> Iterator[Finding]:
    right = sys.version_info >= (3, 11)
    text = f"{sys.version.split()[0]} in {sys.prefix}"
    yield Finding("python", "ok" if right else "fail", text, "use Python 3.11 or later")


def packages(root: Path) -> Iterator[Finding]:
    """What pyproject.toml asks for is installed, in the versions that constraints.txt pins."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {}
    for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, equal, version = line.partition("==")
        if equal:
            pinned[name.strip().lower()] = version.strip()
    fix = "make test installs what is pinned; or: pip install -c constraints.txt -e ."
    wrong = 0
    for text in project["dependencies"]:
        need = Requirement(text)
        if need.marker and not need.marker.evaluate():
            continue
        try:
            found = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            wrong += 1
            yield Finding("packages", "fail", f"{need.name} is not installed", fix)
            continue
        if not need.specifier.contains(found.partition("+")[0], prereleases=True):
            wrong += 1
            yield Finding("packages", "fail", f"{need.name} {found} where {need.specifier} is needed", fix)
        elif (proved := pinned.get(need.name.lower(), found)).partition("+")[0] != found.partition("+")[0]:
            wrong += 1
            yield Finding("packages", "warn", f"{need.name} {found}, proved was {proved}", fix)
    if not wrong:
        yield Finding("packages", "ok", f"{len(project['dependencies'])} as constraints.txt pins them")


def git(root: Path) -> Iterator[Finding]:
    if shutil.which("git") is None:
        yield Finding("git", "fail", "there is no git", "install git: versions are tags")
        return

    def said(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    if not said("rev-parse", "--git-dir"):
        yield Finding("git", "fail", f"{root} is no git repository", "git init, then commit: versions are tags")
        return
    identity = said("config", "user.email")
    text = f"releases are signed {identity}" if identity else "no identity is set: releases go under Evergreen's own"
    yield Finding("git", "ok", text)


def dvc(root: Path) -> Iterator[Finding]:
    from evergreen.stages.engines import versions

    try:
        versions.prepare(root)
        found = versions.released(root)
        for name in names(root)[:1]:
            versions.stale(Paths(root, name), "collect")
    except (ValueError, OSError) as error:
        yield Finding("dvc", "fail", str(error), getattr(error, "fix", ""))
    else:
        yield Finding("dvc", "ok", f"usable; {len(found)} pipelines released")


def room(root: Path) -> Iterator[Finding]:
    """Space on disk, in memory, and in the memory that Ray's processes share."""
    import psutil

    free = shutil.disk_usage(root).free / GIB
    yield Finding("disk", _grade(free, 2, 10), f"{free:.0f} GiB free", "free some: models and data are kept by version")
    memory = psutil.virtual_memory().available / GIB
    yield Finding(
        "memory", _grade(memory, 1, 3), f"{memory:.1f} GiB available", "end other work: Ray and torch take 3 GiB"
    )
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total / GIB
        fix = "in Docker: --shm-size=2g; without it Ray's objects go to the disk"
        yield Finding("/dev/shm", _grade(size, 0, 1), f"{size:.1f} GiB", fix)


def _grade(value: float, least: float, good: float) -> str:
    return "ok" if value >= good else "warn" if value >= least else "fail"


def home(root: Path) -> Iterator[Finding]:
    folder = root / ".evergreen"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield Finding(".evergreen", "fail", f"cannot be written ({error.strerror})", f"make {folder} yours: chown")
        return
    from evergreen.stages.engines import ray_node

    fits = len(os.fsencode(folder / "ray")) <= ray_node.LONGEST_FOLDER
    text = f"{folder} can be written" + ("" if fits else "; its path is too long for Ray's sockets, they go to /tmp")
    yield Finding(".evergreen", "ok" if fits else "warn", text, "" if fits else "a clone at a shorter path keeps them")


def ports(root: Path) -> Iterator[Finding]:
    for what, port in (("Prefect", 4200), ("endpoint", 8000)):
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        yield Finding(
            "port",
            "ok",
            f"{port} ({what}) is {'taken; by this clone, or the next free one is used' if taken else 'free'}",
        )


def engines(root: Path) -> Iterator[Finding]:
    """Which engines are up, and locks that are held."""
    from evergreen.flows.server import Server
    from evergreen.stages.deploy import stage as deploy

    url = Server(root).url
    yield Finding("Prefect", "ok", f"up: {url}" if url else "down; it starts when a run needs it")
    try:
        served = deploy.status(root)
    except (ValueError, OSError) as error:
        yield Finding("endpoint", "warn", f"does not answer ({error})", "evergreen stop, then evergreen serve")
    else:
        yield Finding("endpoint", "ok", f"up: {served['url']}" if served else "down")
    for name in names(root):
        if process := lock_owner(format.lock(Paths(root, name))):
            yield Finding("lock", "ok", f"{name} is being run by process {process}")


def cluster(root: Path) -> Iterator[Finding]:
    """Whether Ray is up here, or the cluster that cluster.yaml names can be reached."""
    from evergreen.stages.engines import ray_cluster

    try:
        address = ray_cluster.settings(root).address
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


def gpu(root: Path) -> Iterator[Finding]:
    from evergreen.stages.engines import ray_cluster

    if found := ray_cluster.gpus():
        yield Finding("gpu", "ok", ", ".join(found))
    elif shutil.which("nvidia-smi"):
        yield Finding("gpu", "warn", "there is one, but the installed torch cannot use it", "install torch for CUDA")
    else:
        yield Finding("gpu", "ok", "none; the CPU trains")


def pipelines(root: Path) -> Iterator[Finding]:
    """Mistakes in the YAMLs, and records that cannot be read."""
    for name in names(root):
        try:
            read(name, root)
        except PipelineError as error:
            yield Finding(
                "pipeline", "fail", f"{error.place}: {error.problem}" if error.place else error.problem, error.fix
            )
        else:
            yield Finding("pipeline", "ok", name)
    if not names(root):
        yield Finding("pipeline", "warn", "there is none", "make one with: evergreen new")
    for record in (root / ".evergreen").glob("*.json"):
        try:
            read_json(record)
        except ValueError as error:
            yield Finding("record", "fail", str(error), f"evergreen stop, then delete {record}")
