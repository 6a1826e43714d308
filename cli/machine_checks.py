"""Check a machine: its Python, its packages, its space and ports. Each check of the doctor's yields findings."""

import importlib.metadata
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from evergreen.core.diagnosis import Finding
from evergreen.core.paths import IMPORT_ROOT

GIB = 2**30
REQUIRED_PYTHON = (3, 11)


def check_python() -> Iterator[Finding]:
    """Check the interpreter's version."""
    text = f"{sys.version.split()[0]} in {sys.prefix}"
    yield Finding("python", "ok" if sys.version_info >= REQUIRED_PYTHON else "fail", text, "use Python 3.11 or later")


def check_packages() -> Iterator[Finding]:
    """Check that what Evergreen requires is installed, in the tested versions where constraints.txt lies beside it."""
    from packaging.requirements import Requirement

    file = IMPORT_ROOT / "constraints.txt"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    pairs = (line.partition("==") for line in text.splitlines())
    tested = {name.strip().lower(): version.strip() for name, equal, version in pairs if equal}
    fix = "make test installs what is pinned; or: pip install -c constraints.txt -e ." if tested else "install it again"
    required = [Requirement(text) for text in importlib.metadata.requires("evergreen") or []]
    required = [one for one in required if not one.marker or one.marker.evaluate({"extra": ""})]
    findings = []
    for requirement in required:
        name = requirement.name
        try:
            installed = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding("packages", "fail", f"{name} is not installed", fix))
            continue
        wanted = tested.get(name.lower(), installed).partition("+")[0]
        if not requirement.specifier.contains(installed, prereleases=True):
            problem = f"{name} {installed} does not fit {requirement.specifier}"
            findings.append(Finding("packages", "fail", problem, fix))
        elif wanted != installed:
            findings.append(Finding("packages", "warn", f"{name} {installed} is installed, tested is {wanted}", fix))
    yield from findings or [Finding("packages", "ok", f"all {len(required)} required ones are installed")]


def check_resources(folder: Path) -> Iterator[Finding]:
    """Check the space on disk, in memory, and in the memory that Ray's processes share."""
    import psutil

    free = shutil.disk_usage(folder).free / GIB
    yield Finding(
        "disk", _grade(free, 2, 10), f"{free:.0f} GiB free", "free some space: models and data are kept by version"
    )
    memory = psutil.virtual_memory().available / GIB
    fix = "close other programs: Ray and torch need 3 GiB"
    yield Finding("memory", _grade(memory, 1, 3), f"{memory:.1f} GiB available", fix)
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total / GIB
        fix = "in Docker: --shm-size=2g; without it Ray's objects go to the disk"
        yield Finding("/dev/shm", _grade(size, 0, 1), f"{size:.1f} GiB", fix)


def _grade(value: float, minimum: float, good: float) -> str:
    return "ok" if value >= good else "warn" if value >= minimum else "fail"


def check_ports() -> Iterator[Finding]:
    """Look whether the usual ports are free; a taken one is no fault."""
    for what, port in (("Prefect", 4200), ("endpoint", 8000)):
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        state = "taken; by this project, or the next free one is used" if taken else "free"
        yield Finding("port", "ok", f"{port} ({what}) is {state}")


def check_gpu() -> Iterator[Finding]:
    """Check that torch can use this machine's GPUs, if it has any."""
    from evergreen.stages.engines import ray_cluster

    if gpus := ray_cluster.gpus():
        yield Finding("gpu", "ok", ", ".join(gpus))
    elif shutil.which("nvidia-smi"):
        yield Finding("gpu", "warn", "there is one, but the installed torch cannot use it", "install torch for CUDA")
    else:
        yield Finding("gpu", "ok", "none; the CPU trains")
