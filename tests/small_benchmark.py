"""Run a benchmark at its small size: it ends, prints its table, and leaves nothing behind."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
NAMES = [*sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")), "reference"]
WITH_ENGINES = ["idle", "train", "tune", "serve"]
TAKING_LONG = ["opponents", "soak"]  # the first installs packages of the registry, the second starts an endpoint
SHARING = "import benchmarks; from benchmarks import {0}\n{1}"
ONE_RAY = "with benchmarks.ray_project(): "


def run_small(*names: str) -> None:
    """Run a benchmark, or several in one process, which share one Ray, in a folder of its own; check what it leaves."""
    with tempfile.TemporaryDirectory(prefix="b") as folder:  # a path short enough for Ray's sockets
        _run_in(Path(folder), names)


def _run_in(scratch: Path, names: tuple[str, ...]) -> None:
    before = {path: path.read_bytes() for path in (ROOT / "benchmarks").rglob("*") if path.suffix in (".md", ".json")}
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PREFECT_"))}
    variables |= {"SMALL": "1", "TMPDIR": str(scratch)}
    mains = "; ".join(f"{name}.main()" for name in names)
    together = SHARING.format(", ".join(names), ONE_RAY + mains if set(names) <= set(WITH_ENGINES) else mains)
    alone = ["-m", f"benchmarks.{names[0]}", *(["perceptron"] if names == ("reference",) else [])]
    command = [sys.executable, *(["-c", together] if len(names) > 1 else alone)]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    heads = re.findall(r"^\|-", done.stdout, re.MULTILINE) or re.findall(r"^\| ", done.stdout, re.MULTILINE)
    assert len(heads) >= len(names), done.stdout
    assert {path: path.read_bytes() for path in before} == before  # the figures of real runs stand
    limit = time.monotonic() + 60
    while _processes(scratch) and time.monotonic() < limit:
        time.sleep(0.2)
    assert _processes(scratch) == []
    assert [path.name for path in scratch.iterdir() if path.name.startswith("bench-")] == []


def _processes(folder: Path) -> list[str]:
    """The command lines of all that works in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in f"{process.cmdline()} {process.cwd()} {process.environ().get('TMPDIR')}":
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
