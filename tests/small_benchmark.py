"""Run a benchmark at its small size: it ends, prints its table, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
NAMES = [*sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")), "reference"]
WITH_ENGINES = ["idle", "serve", "train", "tune"]


def run_small(name: str) -> None:
    """Run one benchmark in a folder of its own and check all that it leaves."""
    with tempfile.TemporaryDirectory(prefix="b") as folder:  # a path short enough for Ray's sockets
        _run_in(Path(folder), name)


def _run_in(scratch: Path, name: str) -> None:
    before = {path: path.read_bytes() for path in (ROOT / "benchmarks").rglob("*") if path.suffix in (".md", ".json")}
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PREFECT_"))}
    variables |= {"SMALL": "1", "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["perceptron"] if name == "reference" else [])]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stdout.splitlines() if line.startswith("| ")], done.stdout
    assert {path: path.read_bytes() for path in before} == before  # the figures of real runs stand
    limit = time.monotonic() + 10
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
